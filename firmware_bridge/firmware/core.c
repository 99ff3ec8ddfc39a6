/* Time and motors: the 1 kHz tick. */
#include "bytes.h"
#include "core.h"

#define BRAKE_US 300000 /* enabled after leaving ACTIVE: the longest stop ramp, and a margin */
#define BENCH_SPEED_PERMILLE 250
#define TELEMETRY_LATE_US 50000 /* catching up from further behind: that report is of no use */

size_t core_size(void) { return sizeof(core); }

void core_init(core *c, const limit_table *limits, plant *p, const core_identity *identity,
               uint64_t clock_start_us) {
    memset(c, 0, sizeof *c);
    c->limits = limits;
    c->plant = p;
    c->identity = *identity;
    c->start_us = clock_start_us;
    c->now_us = clock_start_us;
    c->next_tick_us = clock_start_us + TICK_US;
    c->mode = MODE_SAFE;
    core_params_reset(c);
}

bool core_driving(const core *c) { return c->mode == MODE_ACTIVE || c->mode == MODE_BENCH; }

void core_start_pose(core *c) {
    for (uint32_t j = 0; j < c->limits->joints; j++) {
        const joint_limit *limit = &c->limits->joint[j];
        int32_t measured = c->sensors.position[j];
        if (!limit->velocity_joint) { /* a wheel still on its stop ramp stays on it */
            limit_start(limit, &c->joint[j], measured);
        }
        c->target[j] = limit->velocity_joint ? 0 : measured;
    }
}

void core_leave(core *c, uint8_t mode) {
    if (core_driving(c)) {
        c->release_us = c->now_us + BRAKE_US;
        c->motion_given = false;
    }
    c->mode = mode;
}

bool core_moving(const core *c) {
    for (uint32_t j = 0; j < c->limits->joints; j++) {
        if (c->joint[j].velocity != 0) {
            return true;
        }
    }
    return false;
}

static int32_t within(int32_t x, int32_t most) {
    return x > most ? most : (x < -most ? -most : x);
}

/* A wheel's top speed now: the host's parameter, and a quarter of it on the bench. */
static int32_t wheel_target(const core *c, const joint_limit *limit, int32_t target) {
    int32_t permille = c->param[PARAM_SPEED_PERMILLE];
    permille = c->mode == MODE_BENCH && permille > BENCH_SPEED_PERMILLE ? BENCH_SPEED_PERMILLE : permille;
    int32_t top = (int32_t)((int64_t)limit->velocity_max * permille / 1000);
    return within(target, top);
}

static void drive(core *c, stop_level level) {
    c->limited = 0;
    for (uint32_t j = 0; j < c->limits->joints; j++) {
        const joint_limit *limit = &c->limits->joint[j];
        limit_state *state = &c->joint[j];
        if (level == STOP_NONE) {
            int32_t target = c->target[j];
            target = limit->velocity_joint ? wheel_target(c, limit, target) : target;
            bool bounded = limit_step(limit, state, target, 1);
            c->limited |= (uint32_t)(bounded || target != c->target[j]) << j;
        } else if (level == STOP_RAMP || (level == STOP_ZERO && !limit->velocity_joint)) {
            limit_stop(limit, state, 1);
        } else {
            state->velocity = state->acceleration = 0;
        }
        c->outputs.target[j] = limit_output(limit, state);
        c->outputs.current_limit_ma[j] = (int16_t)core_current_ma(c, j);
    }
    if (level != STOP_NONE && core_driving(c)) {
        c->limited = (1u << c->limits->joints) - 1u;
    }
}

static void show(core *c) {
    static const uint8_t COLOURS[][sizeof c->outputs.led_rgb] = {
        {24, 24, 24}, /* disarmed */
        {0, 40, 160}, /* armed */
        {0, 160, 40}, /* moving */
        {200, 0, 0},  /* stopped */
        {220, 90, 0}, /* fault */
    };
    uint8_t mode = LED_MODE_DISARMED;
    if (c->latched & (FAULT_ESTOP | FAULT_STOP_INPUT)) {
        mode = LED_MODE_STOPPED;
    } else if (c->latched) {
        mode = LED_MODE_FAULT;
    } else if (core_moving(c)) { /* in any mode: a stop ramp moves too */
        mode = LED_MODE_MOVING;
    } else if (core_driving(c)) {
        mode = LED_MODE_ARMED;
    }
    bool dark = mode == LED_MODE_FAULT && c->now_us / 250000 % 2; /* blinks at 2 Hz */
    c->outputs.led_mode = mode;
    for (int i = 0; i < 3; i++) {
        int32_t bright = COLOURS[mode][i] * c->param[PARAM_LED_PERMILLE] / 1000;
        c->outputs.led_rgb[i] = dark ? 0 : (uint8_t)bright;
    }
}

void core_park(core *c) {
    core_leave(c, MODE_SAFE);
    c->release_us = c->now_us;
    drive(c, STOP_CUT);
    c->outputs.enable = 0;
    c->outputs.brake = true;
    plant_write_outputs(c->plant, &c->outputs);
}

static void tick(core *c, bool report) {
    uint64_t number = (c->now_us - c->start_us) / TICK_US;
    core_sample(c, number);
    stop_level level = core_watch(c);
    drive(c, level);
    c->outputs.enable =
        level != STOP_CUT && (core_driving(c) || c->now_us < c->release_us);
    c->outputs.brake = level >= STOP_ZERO;
    c->outputs.tick_count++;
    show(c);
    plant_write_outputs(c->plant, &c->outputs);
    if (report) {
        core_report(c, number);
    }
}

void core_run(core *c, uint64_t now_us) {
    while (c->next_tick_us <= now_us) {
        uint64_t late = now_us - c->next_tick_us;
        c->now_us = c->next_tick_us;
        c->next_tick_us += TICK_US;
        if (late >= TICK_US) {
            c->counters.catch_up++;
        }
        if (late > c->counters.late_max_us) {
            c->counters.late_max_us = (uint32_t)late;
        }
        tick(c, late < TELEMETRY_LATE_US);
    }
}
