/* The bootloader: choose a slot, copy its image to RAM, run it; where none may run, serve updates. */
#include <string.h>

#include "codec.h"
#include "handoff.h"
#include "mcu.h"
#include "slots.h"
#include "smp.h"

static frame_splitter splitter;
static smp_server server;
static uint8_t body[MAX_FRAME], frame[MAX_FRAME];

/* The chip's word, corrected by what RAM remembers: a chip that knows no cause still tells its own
 * resets from the watchdog's. */
static uint8_t reset_cause(uint8_t chip) {
    volatile handoff *h = HANDOFF;
    if (h->magic != HANDOFF_MAGIC) {
        memset((void *)(uintptr_t)BOARD_HANDOFF, 0, sizeof *h);
        h->magic = HANDOFF_MAGIC;
        return chip == RESET_CAUSE_BROWN_OUT ? chip : RESET_CAUSE_POWER;
    }
    bool asked = h->request != REQUEST_NONE;
    if (!asked) {
        h->crashes++;
    }
    return asked ? RESET_CAUSE_SOFTWARE : RESET_CAUSE_WATCHDOG;
}

static void send(const uint8_t *data, size_t size) {
    size_t length = frame_encode(data, size, frame);
    for (size_t sent = 0; sent < length;) {
        sent += serial_write(frame + sent, length - sent);
        mcu_feed();
    }
}

static _Noreturn void serve(uint8_t cause, uint32_t slot) {
    uint8_t uid[12], input[64];
    mcu_uid(uid);
    const smp_state state = {.slot = (uint8_t)slot, .reset_cause = cause, .uid = uid};
    for (;;) {
        mcu_feed();
        size_t size = serial_read(input, sizeof input);
        for (size_t i = 0; i < size; i++) {
            if (frame_split(&splitter, input[i]) != SPLIT_FRAME) {
                continue;
            }
            int length = frame_decode(splitter.bytes, splitter.used, body);
            frame_taken(&splitter);
            if (length > 0 && body[0] < SMP_LIMIT) {
                size_t reply = smp_handle(&server, &state, body, (size_t)length);
                send(server.reply, reply);
            }
        }
        if (server.reset_due && serial_idle()) {
            HANDOFF->request = REQUEST_RESET;
            HANDOFF->crashes = 0;
            mcu_reset();
        }
        mcu_wait();
    }
}

static _Noreturn void run(const slot_record *record, const image_info *image, uint8_t cause) {
    volatile handoff *h = HANDOFF;
    h->request = REQUEST_NONE;
    h->slot = record->active;
    h->trial = record->trial;
    h->reset_cause = cause;
    h->major = image->version.major;
    h->minor = image->version.minor;
    h->revision = image->version.revision;
    h->build = image->version.build;
    for (int i = 0; i < 8; i++) {
        h->hash[i] = image->hash[i];
    }
    mcu_lock();
    REGISTER(0xE000E010) = 0;           /* SysTick off: the application starts its own */
    REGISTER(0xE000E180) = 0xFFFFFFFFu; /* and every interrupt */
    REGISTER(0xE000E184) = 0xFFFFFFFFu;
    REGISTER(0xE000E188) = 0xFFFFFFFFu;
    memcpy((void *)BOARD_EXEC_BASE, image->body, image->size);
    const uint32_t *vectors = (const uint32_t *)BOARD_EXEC_BASE;
    REGISTER(0xE000ED08) = BOARD_EXEC_BASE;
    mcu_feed();
    __asm volatile("dsb\n\tisb\n\tmsr msp, %0\n\tcpsie i\n\tbx %1" ::"r"(vectors[0]), "r"(vectors[1]));
    __builtin_unreachable();
}

int main(void) {
    slot_record record;
    image_info image;
    uint8_t cause = reset_cause(mcu_start(false));
    bool asked = HANDOFF->request == REQUEST_LOADER;
    HANDOFF->request = REQUEST_NONE;
    image_verdict found = slots_choose(&record, &image);
    if (found == IMAGE_OK && !asked && HANDOFF->crashes < CRASHES_MAX) {
        run(&record, &image, cause);
    }
    serve(cause, record.active);
}
