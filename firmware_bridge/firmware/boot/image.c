#include "image.h"

#include <string.h>

#include "board_gen.h"
#include "key_gen.h"
#include "nvm.h"
#include "signature.h"

#define HEADER_MAGIC 0x96F3B83Du
#define FLAG_RAM_LOAD 0x20u
#define TLV_INFO_MAGIC 0x6907
#define TLV_PROTECTED_MAGIC 0x6908
#define TLV_KEY_HASH 0x01
#define TLV_SHA256 0x10
#define TLV_ED25519 0x24
#define TLV_HARDWARE 0xA0 /* of the vendor range */

typedef struct __attribute__((packed)) {
    uint32_t magic, load_address;
    uint16_t header_size, protected_size;
    uint32_t image_size, flags;
    uint8_t major, minor;
    uint16_t revision;
    uint32_t build, pad;
} image_header;

typedef struct __attribute__((packed)) {
    uint16_t magic, size;
} tlv_info;

typedef struct __attribute__((packed)) {
    uint16_t type, size;
} tlv;

/* What follows the protected area, in the order imgtool writes it. */
typedef struct __attribute__((packed)) {
    tlv_info info;
    tlv hash_entry;
    uint8_t hash[IMAGE_HASH_SIZE];
    tlv key_entry;
    uint8_t key_hash[IMAGE_HASH_SIZE];
    tlv signature_entry;
    uint8_t signature[SIGNATURE_SIZE];
} trailer;

_Static_assert(sizeof(image_header) == 32, "MCUboot's image_header");

static image_verdict check_header(const image_header *h, uint32_t slot_size) {
    if (h->magic == 0xFFFFFFFFu) {
        return IMAGE_EMPTY;
    }
    if (h->magic != HEADER_MAGIC || h->header_size != IMAGE_HEADER_SIZE ||
        h->flags != FLAG_RAM_LOAD || h->pad != 0 || h->image_size < 8) {
        return IMAGE_BAD_HEADER;
    }
    if (h->load_address != BOARD_EXEC_BASE) {
        return IMAGE_WRONG_ADDRESS;
    }
    if (h->image_size > BOARD_EXEC_SIZE || h->image_size > slot_size - IMAGE_HEADER_SIZE ||
        h->protected_size > slot_size - IMAGE_HEADER_SIZE - h->image_size) {
        return IMAGE_TRUNCATED;
    }
    return IMAGE_OK;
}

/* The protected area holds one TLV, the hardware id. */
static image_verdict check_hardware(const uint8_t *area, uint32_t size) {
    const size_t length = sizeof(BOARD_HARDWARE) - 1;
    tlv_info info;
    tlv entry;
    if (size < sizeof info + sizeof entry) {
        return IMAGE_BAD_TRAILER;
    }
    memcpy(&info, area, sizeof info);
    memcpy(&entry, area + sizeof info, sizeof entry);
    if (info.magic != TLV_PROTECTED_MAGIC || info.size != size || entry.type != TLV_HARDWARE ||
        entry.size != size - sizeof info - sizeof entry) {
        return info.magic == 0xFFFF ? IMAGE_TRUNCATED : IMAGE_BAD_TRAILER;
    }
    bool same = entry.size == length &&
                memcmp(area + sizeof info + sizeof entry, BOARD_HARDWARE, length) == 0;
    return same ? IMAGE_OK : IMAGE_WRONG_HARDWARE;
}

static bool is(const tlv *entry, uint16_t type, uint16_t size) {
    return entry->type == type && entry->size == size;
}

static image_verdict read_trailer(const uint8_t *at, uint32_t room, trailer *t) {
    if (room < sizeof *t) {
        return IMAGE_TRUNCATED;
    }
    memcpy(t, at, sizeof *t);
    /* Erased flash where the end should be: the last byte of a signature is below 0x20 */
    if (t->info.magic == 0xFFFF || t->signature[SIGNATURE_SIZE - 1] == 0xFF) {
        return IMAGE_TRUNCATED;
    }
    bool whole = t->info.magic == TLV_INFO_MAGIC && t->info.size == sizeof *t &&
                 is(&t->hash_entry, TLV_SHA256, IMAGE_HASH_SIZE) &&
                 is(&t->key_entry, TLV_KEY_HASH, IMAGE_HASH_SIZE) &&
                 is(&t->signature_entry, TLV_ED25519, SIGNATURE_SIZE);
    return whole ? IMAGE_OK : IMAGE_BAD_TRAILER;
}

image_verdict image_check(const uint8_t *slot, uint32_t slot_size, image_info *out) {
    image_header h;
    trailer t;
    memset(out, 0, sizeof *out);
    memcpy(&h, slot, sizeof h);
    out->version = (image_version){h.major, h.minor, h.revision, h.build};
    out->verdict = check_header(&h, slot_size);
    if (out->verdict != IMAGE_OK) {
        return out->verdict;
    }
    out->body = slot + IMAGE_HEADER_SIZE;
    out->size = h.image_size;
    uint32_t signed_size = IMAGE_HEADER_SIZE + h.image_size + h.protected_size;
    image_verdict hardware = check_hardware(slot + signed_size - h.protected_size, h.protected_size);
    image_verdict found = hardware == IMAGE_WRONG_HARDWARE ? IMAGE_OK : hardware;
    if (found == IMAGE_OK) {
        found = read_trailer(slot + signed_size, slot_size - signed_size, &t);
    }
    if (found == IMAGE_OK) {
        nvm_pause();
        signature_hash(slot, signed_size, out->hash);
        nvm_pause(); /* a signature takes a Cortex-M4 some 50 ms */
        if (memcmp(t.hash, out->hash, IMAGE_HASH_SIZE) != 0) {
            found = IMAGE_BAD_HASH;
        } else if (memcmp(t.key_hash, KEY_HASH, IMAGE_HASH_SIZE) != 0) {
            found = IMAGE_WRONG_KEY;
        } else if (!signature_good(t.signature, out->hash, KEY_PUBLIC)) {
            found = IMAGE_BAD_SIGNATURE;
        } else {
            found = hardware; /* said last: whole and ours, but for another board */
        }
    }
    out->verdict = found;
    return found;
}

const char *image_says(image_verdict verdict) {
    static const char *const TEXTS[IMAGE_VERDICTS] = {
        "ok", "empty", "bad header", "wrong load address", "truncated", "bad trailer",
        "wrong hardware", "bad hash", "wrong key", "bad signature", "downgrade", "not confirmed",
    };
    return verdict < IMAGE_VERDICTS ? TEXTS[verdict] : "unknown";
}

int image_compare(const image_version *a, const image_version *b) {
    const uint32_t left[] = {a->major, a->minor, a->revision, a->build};
    const uint32_t right[] = {b->major, b->minor, b->revision, b->build};
    for (int i = 0; i < 4; i++) {
        if (left[i] != right[i]) {
            return left[i] < right[i] ? -1 : 1;
        }
    }
    return 0;
}
