/* The limiter alone on the emulated Cortex-M4: random targets from a fixed generator, a CRC of every
 * output, as decimal lines on the UART. test_arm.py computes the same on this machine. */
#include "codec.h"
#include "limits.h"
#include "limits_gen.h"
#include "mcu.h"

static uint32_t seed = 12345;

static uint32_t chance(void) { return seed = seed * 1664525u + 1013904223u; }

static void say(uint32_t value) {
    uint8_t line[12];
    uint32_t at = sizeof line;
    line[--at] = '\n';
    do {
        line[--at] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value);
    for (uint32_t sent = at; sent < sizeof line;) {
        sent += (uint32_t)serial_write(line + sent, sizeof line - sent);
        mcu_feed();
    }
}

static uint32_t walk(const joint_limit *limit) {
    limit_state state;
    int32_t outputs[64];
    uint32_t crc = 0;
    limit_start(limit, &state, (int32_t)(chance() % 20000) - 10000);
    for (int block = 0; block < 200; block++) {
        int32_t target = (int32_t)(chance() % 65536) - 32768;
        for (int i = 0; i < 64; i++) {
            if (block % 7 == 6) {
                limit_stop(limit, &state, 1);
            } else {
                limit_step(limit, &state, target, block % 2 ? 1 : 10);
            }
            outputs[i] = limit_output(limit, &state);
        }
        crc = crc * 31u + crc16_xmodem((const uint8_t *)outputs, sizeof outputs);
        mcu_feed();
    }
    return crc;
}

int main(void) {
    mcu_start(false);
    for (uint32_t j = 0; j < LIMITS.joints; j++) {
        say(walk(&LIMITS.joint[j]));
    }
    for (;;) {
        mcu_feed();
    }
}
