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
    uint8_t image[8]; /* first bytes of the image's SHA-256 */
    uint8_t version_major, version_minor;
    uint16_t version_patch;
    uint8_t reset_cause;
    uint8_t slot;
    uint8_t trial; /* not confirmed yet */
} core_identity;

/* What only the port can do; both may be missing. */
typedef struct {
    void (*reboot)(void *context, uint8_t target);
    void (*smp)(void *context, const uint8_t *body, size_t size); /* an update frame; answers with core_send_body */
    void *context;
} core_port;

/* How motors stop, mildest first. */
typedef enum {
    STOP_NONE, /* the limiter follows the command */
    STOP_RAMP, /* stop_deceleration, enabled */
    STOP_ZERO, /* wheels commanded to zero at once, enabled and braked */
    STOP_CUT,  /* enable dropped at once: a driven motor cannot be trusted */
} stop_level;

typedef struct {
    uint16_t count; /* consecutive fresh samples */
    int64_t least;  /* speed in the direction of the push since it began */
} push_watch;

typedef struct {
    uint16_t opposing, stalled, overcurrent; /* consecutive fresh samples */
    push_watch contact, shoved;
    bool moved; /* as commanded, since the command is more than a crawl */
} joint_watch;

typedef struct {
    uint32_t rx_ok, rx_bad, rx_overrun, rx_lost, tx_dropped;
    uint32_t motion_ok, motion_stale, motion_refused;
    uint32_t catch_up, late_max_us;
} core_counters;

typedef struct {
    const limit_table *limits;
    plant *plant;
    core_identity identity;
    core_port port;
    core_counters counters;
    int32_t param[PARAMS];

    uint64_t start_us, next_tick_us, now_us;

    /* host */
    frame_splitter rx;
    uint8_t body[MAX_FRAME]; /* the frame being handled */
    uint8_t rx_seq;
    bool rx_started;
    uint32_t nonce, session, hellos;
    bool synced;
    uint64_t sync_us, heartbeat_us;
    uint64_t quiet_us; /* until then the port belongs to an update: no telemetry */

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
    uint16_t brown_out; /* consecutive ticks */

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
void core_send_body(core *c, const uint8_t *body, size_t size); /* as it is: an SMP answer */
void core_log(core *c, uint8_t level, const char *text);
bool core_driving(const core *c); /* a mode that moves motors */
bool core_healthy(const core *c); /* what confirms an image on trial: a host, its clock, sensors, time */

/* Between the core's own files. */
void core_leave(core *c, uint8_t mode);
void core_latch(core *c, uint32_t fault, stop_level level, uint32_t detail);
void core_start_pose(core *c);
stop_level core_watch(core *c);
void core_handle(core *c, const uint8_t *body, size_t size);
void core_params_reset(core *c);
int32_t core_current_ma(const core *c, uint32_t joint);
void core_param_send(core *c, uint16_t id, uint32_t code);
uint32_t core_param_set(core *c, uint16_t id, int32_t value);
void core_send(core *c, uint8_t type, uint64_t t_us, const void *payload, size_t size);
void core_sample(core *c, uint64_t tick);
void core_report(core *c, uint64_t tick);
uint32_t core_flags(const core *c);
bool core_sync_valid(const core *c);
bool core_moving(const core *c);
uint64_t core_host_age_us(const core *c); /* since its last heartbeat */

#endif
