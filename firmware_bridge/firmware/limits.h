/* Motion limits of one body, and the limiter that keeps every joint within them.
 *
 * Integers only, so that host, library and ARM give the same output. A joint counts in the scale of
 * its MOTION field. A velocity joint's counts are rad/s: its acceleration is counts/s, its jerk
 * counts/s2; a position joint's counts are rad, everything one derivative lower.
 */
#ifndef COMPANION_LIMITS_H
#define COMPANION_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#define LIMIT_JOINTS 16
#define LIMIT_REACH 32767 /* counts that MOTION carries; a joint measured further out starts there */

typedef struct {
    uint32_t velocity_joint;
    int32_t position_min;
    int32_t position_max;
    int32_t velocity_max;
    int32_t acceleration_max;
    int32_t jerk_max;
    int32_t stop_deceleration;
    int32_t current_max_ma;
    uint32_t scale_nano; /* SI units per count, 1e-9 */
} joint_limit;

typedef struct {
    uint32_t layout_crc;
    uint32_t joints;
    uint32_t control_period_us;
    uint32_t imu_period_us;
    uint32_t motion_ttl_ms;
    uint8_t has_range, cliffs, has_bumper, has_stop;
    uint32_t led_count;
    uint32_t brown_out_mv; /* 0: no battery gauge */
    joint_limit joint[LIMIT_JOINTS];
} limit_table;

/* Each derivative has a thousand times coarser unit, so that integrating over milliseconds is exact. */
typedef struct {
    int64_t position;     /* 1e-9 counts; unused by velocity joints */
    int64_t velocity;     /* 1e-6 counts/s; of a velocity joint 1e-6 counts */
    int64_t acceleration; /* 1e-3 counts/s2; of a velocity joint 1e-3 counts/s */
} limit_state;

void limit_start(const joint_limit *limit, limit_state *state, int32_t measured);
/* One step towards the target; true when the target itself was out of bounds. */
bool limit_step(const joint_limit *limit, limit_state *state, int32_t target, int32_t dt_ms);
/* One step of the stop ramp: stop_deceleration, not jerk-limited. */
void limit_stop(const joint_limit *limit, limit_state *state, int32_t dt_ms);
/* What the motor gets, in counts. */
int32_t limit_output(const joint_limit *limit, const limit_state *state);

#endif
