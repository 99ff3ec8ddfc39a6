/* What is measured, and what of it stops the motors. */
#include "bytes.h"
#include "core.h"

#define HEARTBEAT_LOST_US 1000000
#define SENSORS_STALE_US 50000
#define SENSORS_LOST_US 500000
#define IMU_GAP_US 10000
/* A stop within 50 ms of its cause: these, and a brake that takes 20 ms from full speed. */
#define OPPOSING_US 16000
#define STALLED_US 12000
#define START_US 44000 /* a wheel that has not moved yet may take longer */
#define CONTACT_US 20000
#define SHOVE_US 12000
#define SHOVE_PERMILLE 300 /* of the current limit */
#define OVERCURRENT_US 20000
#define BROWN_OUT_TICKS 20
#define HEALTHY_US 1000000 /* since boot, before an image on trial may be confirmed */

/* A value that is no number becomes the least one. */
static int16_t rounded(float value) {
    float limited = value > 32767.0f ? 32767.0f : (value > -32767.0f ? value : -32767.0f);
    return (int16_t)(limited < 0.0f ? limited - 0.5f : limited + 0.5f);
}

static void add_imu_sample(core *c) {
    if (c->batch.n >= IMU_SAMPLES) {
        c->batch.n = 0; /* its report was too late to be made */
    }
    if (c->batch.n == 0) {
        c->batch_us = c->now_us;
        c->batch.flags = 0;
    }
    imu_item *item = &c->batch.item[c->batch.n++];
    item->dt_us = (uint16_t)(c->now_us - c->batch_us);
    for (int i = 0; i < 3; i++) {
        item->accel[i] = rounded(c->sensors.accel_m_s2[i] / IMU_ACCEL_SCALE);
        item->gyro[i] = rounded(c->sensors.gyro_rad_s[i] / IMU_GYRO_SCALE);
    }
    c->batch.flags |= c->now_us - c->imu_us >= c->limits->imu_period_us;
}

void core_sample(core *c, uint64_t number) {
    bool read = plant_read_sensors(c->plant, &c->sensors);
    c->imu_fresh = read && (!c->sensed || c->sensors.imu_seq != c->imu_seq);
    if (c->imu_fresh) {
        c->sensed = true;
        c->imu_seq = c->sensors.imu_seq;
        c->imu_us = c->now_us;
    }
    if (c->sensed && !c->posed) {
        core_start_pose(c);
        c->posed = true;
    }
    int32_t draw_ma = c->sensors.battery_ma > 0 ? c->sensors.battery_ma : 0;
    c->energy_nj += (uint64_t)c->sensors.battery_mv * (uint64_t)draw_ma;
    if (number % (c->limits->imu_period_us / TICK_US) == 0) {
        add_imu_sample(c);
    }
}

static stop_level harder(stop_level a, stop_level b) { return a > b ? a : b; }

void core_latch(core *c, uint32_t fault, stop_level level, uint32_t detail) {
    if (!(c->latched & fault)) {
        if (c->latched == 0) {
            c->first_fault_us = (uint32_t)c->now_us;
            c->fault_code = (uint32_t)__builtin_ctz(fault);
            c->fault_detail = detail;
        }
        c->latched |= fault;
        c->fault_news = true;
    }
    c->cut_by_latch = harder(level, c->cut_by_latch);
    core_leave(c, MODE_SAFE);
}

static uint64_t sensor_age_us(const core *c) {
    return c->sensed ? c->now_us - c->imu_us : UINT64_MAX;
}

static void watch_inputs(core *c) {
    const limit_table *t = c->limits;
    uint32_t active = 0;
    if (t->has_stop && c->sensed && !c->sensors.stop_input) {
        active |= FAULT_STOP_INPUT;
        core_latch(c, FAULT_STOP_INPUT, STOP_CUT, 0);
    }
    if (t->has_bumper && c->sensors.bumper) {
        active |= FAULT_BUMPER;
        if (core_driving(c)) {
            core_latch(c, FAULT_BUMPER, STOP_ZERO, c->sensors.bumper);
        }
    }
    uint32_t every = (1u << t->cliffs) - 1u;
    uint32_t floorless = c->sensors.cliff & every;
    if (floorless) {
        uint32_t fault = t->cliffs > 1 && floorless == every ? FAULT_LIFT : FAULT_CLIFF;
        active |= fault;
        if (c->mode == MODE_ACTIVE) {
            core_latch(c, fault, STOP_ZERO, floorless);
        }
    }
    bool low = c->sensors.battery_mv && c->sensors.battery_mv < t->brown_out_mv; /* 0: not read yet */
    c->brown_out = low ? (uint16_t)(c->brown_out + (c->brown_out < BROWN_OUT_TICKS)) : 0;
    if (c->brown_out >= BROWN_OUT_TICKS) {
        active |= FAULT_BROWN_OUT;
        if (core_driving(c)) {
            core_latch(c, FAULT_BROWN_OUT, STOP_RAMP, c->sensors.battery_mv);
        }
    }
    uint64_t age = sensor_age_us(c);
    active |= age > IMU_GAP_US ? FAULT_IMU_GAP : 0;
    active |= age > SENSORS_STALE_US ? FAULT_SENSORS : 0;
    if (age > SENSORS_LOST_US && core_driving(c)) {
        core_latch(c, FAULT_SENSORS, STOP_CUT, 0);
    }
    if ((active ^ c->active) & ~(uint32_t)FAULT_IMU_GAP) {
        c->fault_news = true;
    }
    c->active = active;
}

/* True when the condition has held for so long, counted in fresh samples: a stalled sensor source
 * must not look like a stalled motor. */
static bool held(const core *c, uint16_t *count, bool condition, uint32_t time_us) {
    *count = condition ? (uint16_t)(*count + 1) : 0;
    return *count * c->limits->imu_period_us >= time_us;
}

/* In 64 bits: a sensor that tells nonsense must not overflow what is made of it. */
static int64_t absolute(int64_t x) { return x < 0 ? -x : x; }
static int64_t along(int64_t x, int64_t way) { return way < 0 ? -x : x; }

/* Current against measured acceleration: pushed for so long without gaining so much speed. */
static bool resisted(const core *c, push_watch *w, bool pushed, int64_t speed, int32_t gain,
                     uint32_t time_us) {
    if (w->count == 0 || speed < w->least) {
        w->least = speed;
    } else if (speed - w->least > gain) {
        w->least = speed;
        w->count = 0;
    }
    return held(c, &w->count, pushed, time_us);
}

/* Pushed hard; or pushed as commanded, and yet far behind the command: something is in the way. */
static bool contact(core *c, uint32_t j, int32_t wanted, int32_t top) {
    joint_watch *w = &c->watch[j];
    int32_t limit = core_current_ma(c, j);
    int32_t current = c->sensors.current_ma[j];
    int64_t push = absolute(current);
    int64_t speed = along(c->sensors.velocity[j], current);
    bool watched = c->mode == MODE_ACTIVE; /* on the bench every start is near its little current */
    bool hard = watched && push > limit * c->param[PARAM_CONTACT_PERMILLE] / 1000;
    bool behind = along(wanted, current) - speed > top / 10;
    bool shoved = watched && behind && push > limit * SHOVE_PERMILLE / 1000;
    bool stuck = resisted(c, &w->contact, hard, speed, top / 20, CONTACT_US);
    return resisted(c, &w->shoved, shoved, speed, top / 50, SHOVE_US) || stuck;
}

static void watch_wheel(core *c, uint32_t j) {
    const joint_limit *limit = &c->limits->joint[j];
    joint_watch *w = &c->watch[j];
    int64_t nano = limit->scale_nano;
    int32_t top = (int32_t)(limit->velocity_max * nano / 1000000); /* 1e-3 rad/s */
    int32_t wanted = (int32_t)(c->outputs.target[j] * nano / 1000000);
    int64_t speed = along(c->sensors.velocity[j], wanted);
    bool driven = absolute(wanted) > top / 10;
    bool against = absolute(wanted) > top / 20 && -speed > top / 20;
    if (held(c, &w->opposing, against, OPPOSING_US)) {
        core_latch(c, FAULT_OPPOSING, STOP_CUT, j);
    }
    w->moved = driven && (w->moved || speed > top / 10);
    bool still = driven && absolute(speed) < top / 80;
    if (held(c, &w->stalled, still, w->moved ? STALLED_US : START_US)) {
        core_latch(c, FAULT_STALLED, STOP_CUT, j);
    }
    if (contact(c, j, wanted, top)) {
        core_latch(c, FAULT_CONTACT, STOP_ZERO, j);
    }
}

static void watch_joints(core *c) {
    if (!core_driving(c) || !c->motion_given) {
        memset(c->watch, 0, sizeof c->watch);
        return;
    }
    for (uint32_t j = 0; j < c->limits->joints && c->imu_fresh; j++) {
        const joint_limit *limit = &c->limits->joint[j];
        bool over = absolute(c->sensors.current_ma[j]) > limit->current_max_ma * 5 / 4;
        if (held(c, &c->watch[j].overcurrent, over, OVERCURRENT_US)) {
            core_latch(c, FAULT_OVERCURRENT, STOP_CUT, j);
        }
        if (limit->velocity_joint) {
            watch_wheel(c, j);
        }
    }
}

uint64_t core_host_age_us(const core *c) {
    return c->session ? c->now_us - c->heartbeat_us : UINT64_MAX;
}

static bool host_silent(const core *c) {
    return core_host_age_us(c) > (uint64_t)c->param[PARAM_HEARTBEAT_STOP_MS] * 1000;
}

static void watch_host(core *c) {
    if (core_host_age_us(c) > HEARTBEAT_LOST_US && c->mode != MODE_SAFE) {
        if (core_driving(c)) {
            core_latch(c, FAULT_HEARTBEAT, STOP_RAMP, 0);
        }
        core_leave(c, MODE_SAFE);
    }
    if (c->motion_given && c->now_us >= c->motion_until_us) {
        c->motion_given = false; /* the ramp goes on until the next valid MOTION */
    }
}

stop_level core_watch(core *c) {
    watch_inputs(c);
    watch_joints(c);
    watch_host(c);
    if (core_driving(c)) {
        bool stale = sensor_age_us(c) > SENSORS_STALE_US;
        return c->motion_given && !stale && !host_silent(c) ? STOP_NONE : STOP_RAMP;
    }
    return c->cut_by_latch > STOP_RAMP ? c->cut_by_latch : STOP_RAMP;
}

bool core_sync_valid(const core *c) {
    return c->synced && c->now_us - c->sync_us <= 10000000;
}

uint32_t core_flags(const core *c) {
    bool active = core_driving(c);
    uint32_t flags = 0;
    flags |= c->session ? STATE_FLAG_SESSION : 0;
    flags |= core_sync_valid(c) ? STATE_FLAG_SYNCED : 0;
    flags |= c->outputs.enable ? STATE_FLAG_ENABLED : 0;
    flags |= core_moving(c) ? STATE_FLAG_MOVING : 0;
    flags |= active && !c->motion_given ? STATE_FLAG_STOPPING : 0;
    flags |= active && !c->motion_given && c->motion_until_us ? STATE_FLAG_TTL_EXPIRED : 0;
    flags |= host_silent(c) ? STATE_FLAG_HEARTBEAT_LATE : 0;
    flags |= sensor_age_us(c) > SENSORS_STALE_US ? STATE_FLAG_SENSORS_STALE : 0;
    flags |= c->latched ? STATE_FLAG_LATCHED : 0;
    flags |= c->identity.trial ? STATE_FLAG_TRIAL : 0;
    return flags;
}

bool core_healthy(const core *c) {
    return c->now_us - c->start_us > HEALTHY_US && c->session && core_sync_valid(c) &&
           !host_silent(c) && sensor_age_us(c) <= SENSORS_STALE_US;
}
