/* The application: the portable core on a board, with the update server beside it. */
#include <string.h>

#include "core.h"
#include "handoff.h"
#include "limits_gen.h"
#include "mcu.h"
#ifndef WITHOUT_UPDATE /* a build without the libraries' source: the port answers no update */
#include "slots.h"
#include "smp.h"
#endif

#define HEALTHY_US 1000000  /* in one piece, before an image on trial is confirmed */
#define TRIAL_US 30000000   /* nobody came: back to the image that was confirmed */

static core firmware;
static uint8_t uid[12], input[256];
static uint64_t healthy_since;
static uint32_t overruns;
static bool kept; /* this image is confirmed */
static uint32_t wanted; /* REQUEST_* when a reset is due */

static void on_reboot(void *context, uint8_t target) {
    (void)context;
    wanted = target == REBOOT_LOADER ? REQUEST_LOADER : REQUEST_RESET;
}

#ifndef WITHOUT_UPDATE
static smp_server server;

static void on_smp(void *context, const uint8_t *body, size_t size) {
    (void)context;
    const smp_state state = {.application = true, .driving = core_driving(&firmware),
                             .slot = HANDOFF->slot, .reset_cause = HANDOFF->reset_cause, .uid = uid};
    size_t reply = smp_handle(&server, &state, body, size);
    if (reply) {
        core_send_body(&firmware, server.reply, reply);
    }
    if (server.reset_due) {
        wanted = REQUEST_RESET;
    }
    if (firmware.identity.trial) { /* it may have been confirmed just now */
        slot_record record;
        slots_load(&record);
        firmware.identity.trial = record.trial;
    }
}

static bool confirm(void) {
    const image_version running = {HANDOFF->major, HANDOFF->minor, HANDOFF->revision, HANDOFF->build};
    return slots_confirm(&running);
}
#else
#define on_smp NULL
static bool confirm(void) { return false; }
#endif

static void watch_trial(uint64_t now) {
    if (!core_healthy(&firmware)) {
        healthy_since = now;
    } else if (now - healthy_since >= HEALTHY_US && !core_driving(&firmware)) {
        HANDOFF->crashes = 0;
        if (!kept && confirm()) { /* of an image not on trial: it raises the version floor */
            kept = true;
            if (firmware.identity.trial) {
                core_log(&firmware, LOG_LEVEL_INFO, "image confirmed");
            }
            firmware.identity.trial = 0;
        }
        healthy_since = now;
    }
    if (firmware.identity.trial && now - firmware.start_us > TRIAL_US) {
        wanted = REQUEST_RESET;
    }
}

/* "fault at 0x2010ABCD": what a log of one line can tell of a crash. */
static const char *fault_text(uint32_t pc) {
    static char text[] = "restarted after a fault at 0x00000000";
    for (uint32_t i = 0; i < 8; i++) {
        text[sizeof text - 2 - i] = "0123456789ABCDEF"[pc >> 4 * i & 15u];
    }
    return text;
}

/* Each new host is told once why this boot came, where it was not asked for. */
static void tell_boot(void) {
    static uint32_t told;
    if (firmware.session == 0 || firmware.session == told) {
        return;
    }
    told = firmware.session;
    if (HANDOFF->fault_pc) {
        core_log(&firmware, LOG_LEVEL_ERROR, fault_text(HANDOFF->fault_pc));
        HANDOFF->fault_pc = 0;
    } else if (HANDOFF->reset_cause == RESET_CAUSE_WATCHDOG) {
        core_log(&firmware, LOG_LEVEL_ERROR, "restarted by the watchdog");
    } else if (HANDOFF->reset_cause == RESET_CAUSE_BROWN_OUT) {
        core_log(&firmware, LOG_LEVEL_WARNING, "restarted after a brown-out");
    }
}

static void send_pending(void) {
    size_t size;
    const uint8_t *pending = core_pending(&firmware, &size);
    if (size) {
        core_sent(&firmware, serial_write(pending, size));
    }
}

static void reset_when_due(void) {
    size_t size;
    core_pending(&firmware, &size);
    if (wanted == REQUEST_NONE || size || !serial_idle()) {
        return; /* the answer goes out first */
    }
    core_park(&firmware);
    mcu_drive(firmware.plant);
    HANDOFF->request = wanted;
    mcu_reset();
}

int main(void) {
    mcu_start(true);
    mcu_uid(uid);
    if (HANDOFF->magic != HANDOFF_MAGIC) { /* started by a debugger, not by the loader */
        memset((void *)(uintptr_t)BOARD_HANDOFF, 0, sizeof(handoff));
        HANDOFF->magic = HANDOFF_MAGIC;
    }
    core_identity identity = {
        .slot = HANDOFF->slot, .trial = HANDOFF->trial, .reset_cause = HANDOFF->reset_cause,
        .version_major = HANDOFF->major, .version_minor = HANDOFF->minor,
        .version_patch = HANDOFF->revision,
    };
    memcpy(identity.uid, uid, sizeof uid);
    for (int i = 0; i < 8; i++) {
        identity.image[i] = HANDOFF->hash[i];
    }
    plant *p = mcu_plant();
    core_init(&firmware, &LIMITS, p, &identity, mcu_us());
    firmware.port = (core_port){.reboot = on_reboot, .smp = on_smp};
    for (;;) {
        mcu_feed();
        mcu_sense(p, mcu_us());
        size_t size = serial_read(input, sizeof input);
        uint64_t now = mcu_us(); /* after the read: what came in between must not be dated before */
        if (size) {
            core_receive(&firmware, now, input, size);
        }
        core_run(&firmware, now);
        firmware.counters.rx_overrun += serial_overruns() - overruns;
        overruns = serial_overruns();
        mcu_drive(p);
        tell_boot();
        send_pending();
        watch_trial(now);
        reset_when_due();
        mcu_wait();
    }
}
