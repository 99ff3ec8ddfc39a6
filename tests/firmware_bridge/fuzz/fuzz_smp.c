/* The update server and its CBOR: whatever is asked, the image that runs stays as it is and boots. */
#include "fuzz.h"
#include "image_gen.h" /* a small signed image, made for the run */
#include "nvm.h"
#include "slots.h"
#include "smp.h"

/* libsodium names them in functions that the loader never calls */
void sodium_misuse(void);
void randombytes_buf(void *out, size_t size);
void sodium_misuse(void) { abort(); }
void randombytes_buf(void *out, size_t size) { (void)out, (void)size, abort(); }

void nvm_host_attach(uint8_t *bytes);

static uint8_t memory[NVM_RECORD_B + NVM_RECORD_SECTOR], request[MAX_SMP];

static void blank(void) {
    memset(memory, 0xFF, sizeof memory);
    memcpy(memory + NVM_SLOT_A, IMAGE, sizeof IMAGE);
    nvm_host_attach(memory);
}

/* The header's known values come often, the body is the input's. */
static size_t compose(input *in) {
    static const uint8_t OPS[] = {0, 2, 8, 10}, GROUPS[] = {0, 1, 1, 66};
    uint8_t shape = byte(in), size_code = byte(in);
    size_t size = size_code < 250 ? size_code : 900u;
    const uint8_t *body = bytes(in, &size);
    request[0] = OPS[shape & 3];
    request[1] = 0;
    request[2] = (uint8_t)(size >> 8);
    request[3] = (uint8_t)size;
    request[4] = 0;
    request[5] = GROUPS[shape >> 2 & 3];
    request[6] = 7;
    request[7] = shape >> 4 & 7; /* command */
    memcpy(request + 8, body, size);
    return 8 + size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t UID[12] = "fuzz";
    smp_server server = {0};
    input in = {data, size};
    fuzzed_bytes += size;
    fuzzed_runs++;
    blank();
    while (in.left) {
        uint8_t flags = byte(&in);
        smp_state state = {.application = flags & 1, .driving = (flags & 14) == 14, .uid = UID};
        size_t length = flags & 128 ? in.left : 0;
        const uint8_t *raw = bytes(&in, &length);
        const uint8_t *asked = length ? raw : request;
        length = length ? length : compose(&in);
        size_t reply = smp_handle(&server, &state, asked, length);
        check(reply <= sizeof server.reply, "a reply fits its buffer");
        check(reply == 0 || server.reply[0] == ((asked[0] & 0x1F) | 1), "a reply answers its request");
        check(memcmp(memory + NVM_SLOT_A, IMAGE, sizeof IMAGE) == 0, "the running image is never written");
        check(server.offset <= server.length, "an upload ends at its length");
    }
    slot_record record;
    image_info image;
    check(slots_choose(&record, &image) == IMAGE_OK, "it boots");
    check(record.active == 0 && !record.trial, "nothing unsigned ever gets a trial");
    return 0;
}
