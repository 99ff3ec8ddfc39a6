/* The firmware: portable, no globals, no clock, no heap. A port feeds bytes and time, and moves
 * bytes and motor outputs. Many cores may live in one process.
 *
 *   core_receive()  bytes from the host, at the time they came
 *   core_run()      all 1 kHz ticks due by now: sensors, safety, limits, outputs, telemetry
 *   core_pending()  bytes for the host; core_sent() drops what the port has written
 */
#ifndef COMPANION_CORE_H
#define COMPANION_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec.h"
#include "limits.h"
#include "plant.h"

#define CORE_TX_SIZE 8192
#define TICK_US 1000

typedef struct {
    uint32_t boot_id;
    uint8_t uid[12];
    uint8_t image[8];
    uint8_t reset_cause;
    uint8_t slot;
} core_identity;

/* How motors stop, mildest first. */
typedef enum {
    STOP_NONE, /* the limiter follows the command */
    STOP_RAMP, /* stop_deceleration, enabled */
    STOP_ZERO, /* wheels commanded to zero at once, enabled to brake */
    STOP_CUT,  /* enable dropped at once: a driven motor cannot be trusted */
} stop_level;

typedef struct {
    uint16_t opposing, stalled, overcurrent, contact; /* consecutive fresh samples */
    int32_t contact_velocity;
} joint_watch;

typedef struct {
    uint32_t rx_ok, rx_bad, rx_overrun, tx_dropped;
    uint32_t motion_ok, motion_stale, motion_refused;
    uint32_t catch_up, late_max_us;
} core_counters;

typedef struct {
    const limit_table *limits;
    plant *plant;
    core_identity identity;
    core_counters counters;

    uint64_t start_us, next_tick_us, now_us;

    /* host */
    frame_splitter rx;
    uint32_t nonce, session, hellos;
    bool synced;
    uint64_t sync_us, heartbeat_us;

    /* motion */
    uint8_t mode;
    uint8_t motion_seq, motion_refused;
    bool motion_given;
    uint64_t motion_issue_us, motion_until_us, release_us;
    uint32_t limited;
    int32_t target[MAX_JOINTS];
    limit_state joint[MAX_JOINTS];
    bool posed; /* position joints have been measured once */

    /* safety */
    uint32_t active, latched;
    uint32_t fault_code, fault_detail, first_fault_us;
    bool fault_news;
    stop_level cut_by_latch;
    joint_watch watch[MAX_JOINTS];

    /* sensors */
    plant_sensors sensors;
    bool sensed;
    uint32_t imu_seq;
    bool imu_fresh;
    uint64_t imu_us;
    msg_imu batch;
    uint64_t batch_us;
    uint64_t energy_nj; /* battery mV x mA, summed each ms */

    plant_outputs outputs;

    uint8_t tx_seq;
    size_t tx_used;
    uint8_t tx[CORE_TX_SIZE];
} core;

size_t core_size(void);
void core_init(core *c, const limit_table *limits, plant *p, const core_identity *identity,
               uint64_t clock_start_us);
void core_receive(core *c, uint64_t now_us, const uint8_t *data, size_t size);
void core_run(core *c, uint64_t now_us);
void core_park(core *c); /* motors off now: the port is about to end */
const uint8_t *core_pending(const core *c, size_t *size);
void core_sent(core *c, size_t size);

/* Between the core's own files. */
void core_leave_active(core *c, uint8_t mode);
void core_latch(core *c, uint32_t fault, stop_level level, uint32_t detail);
void core_start_pose(core *c);
stop_level core_watch(core *c);
void core_handle(core *c, const uint8_t *body, size_t size);
void core_send(core *c, uint8_t type, uint64_t t_us, const void *payload, size_t size);
void core_sample(core *c, uint64_t tick);
void core_report(core *c, uint64_t tick);
uint32_t core_flags(const core *c);
bool core_sync_valid(const core *c);
bool core_moving(const core *c);

#endif
