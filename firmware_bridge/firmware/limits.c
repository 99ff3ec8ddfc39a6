/* A cascade: position error -> velocity on a braking curve -> acceleration on a braking curve ->
 * jerk. Both curves use half of what is allowed, so that the jerk-limited inner loop can follow them
 * with little overshoot; near the target both become linear (25 and 100 per second) and settle. */
#include "limits.h"

#define POSITION_GAIN_DIVISOR 40 /* 1e-9 counts -> 1e-6 counts/s at 25 per second */
#define VELOCITY_GAIN_DIVISOR 10 /* 1e-6 counts/s -> 1e-3 counts/s2 at 100 per second */

static int64_t magnitude(int64_t x) { return x < 0 ? -x : x; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t with_sign(int64_t size, int64_t sign) { return sign < 0 ? -size : size; }
static int64_t bounded(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : (x > high ? high : x);
}

/* Floor of the square root, x >= 0: two bits of x make one of it, without a division. */
static int64_t root(int64_t x) {
    uint64_t rest = (uint64_t)x, result = 0;
    for (uint64_t bit = UINT64_C(1) << 62; bit != 0; bit >>= 2) {
        if (rest >= result + bit) {
            rest -= result + bit;
            result = (result >> 1) + bit;
        } else {
            result >>= 1;
        }
    }
    return (int64_t)result;
}

void limit_start(const joint_limit *limit, limit_state *state, int32_t measured) {
    int64_t start = bounded(measured, -LIMIT_REACH, LIMIT_REACH);
    state->position = limit->velocity_joint ? 0 : start * INT64_C(1000000000);
    state->velocity = 0;
    state->acceleration = 0;
}

/* Towards a velocity, within acceleration and jerk. */
static void approach(const joint_limit *limit, limit_state *s, int64_t wanted, int64_t dt_ms) {
    int64_t error = wanted - s->velocity;
    int64_t distance = magnitude(error);
    int64_t most = smaller(limit->acceleration_max * INT64_C(1000), distance / VELOCITY_GAIN_DIVISOR);
    if (most * most > limit->jerk_max * distance) {
        most = root(limit->jerk_max * distance);
    }
    int64_t step = limit->jerk_max * dt_ms;
    s->acceleration = bounded(with_sign(most, error), s->acceleration - step, s->acceleration + step);
    int64_t top = limit->velocity_max * INT64_C(1000000);
    int64_t next = s->velocity + s->acceleration * dt_ms;
    s->velocity = bounded(next, -top, top);
    if (s->velocity != next) {
        s->acceleration = 0;
    }
}

/* Moves the position; a bound stops what goes outwards, and never throws back what is outside. */
static void advance(const joint_limit *limit, limit_state *s, int64_t dt_ms) {
    int64_t low = limit->position_min * INT64_C(1000000000);
    int64_t high = limit->position_max * INT64_C(1000000000);
    int64_t next = s->position + s->velocity * dt_ms;
    low = smaller(low, s->position);
    high = high > s->position ? high : s->position;
    s->position = bounded(next, low, high);
    if (s->position != next) {
        s->velocity = 0;
        s->acceleration = 0;
    }
}

static int64_t braking_velocity(const joint_limit *limit, int64_t error) {
    int64_t distance = magnitude(error);
    int64_t most = smaller(limit->velocity_max * INT64_C(1000000), distance / POSITION_GAIN_DIVISOR);
    int64_t under_root = limit->acceleration_max * (distance / 1000);
    if ((most / 1000) * (most / 1000) > under_root) {
        most = root(under_root) * 1000;
    }
    return with_sign(most, error);
}

bool limit_step(const joint_limit *limit, limit_state *state, int32_t target, int32_t dt_ms) {
    int32_t low = limit->velocity_joint ? -limit->velocity_max : limit->position_min;
    int32_t high = limit->velocity_joint ? limit->velocity_max : limit->position_max;
    int32_t allowed = (int32_t)bounded(target, low, high);
    if (limit->velocity_joint) {
        approach(limit, state, allowed * INT64_C(1000000), dt_ms);
    } else {
        int64_t error = allowed * INT64_C(1000000000) - state->position;
        approach(limit, state, braking_velocity(limit, error), dt_ms);
        advance(limit, state, dt_ms);
    }
    return allowed != target;
}

void limit_stop(const joint_limit *limit, limit_state *state, int32_t dt_ms) {
    int64_t step = (int64_t)limit->stop_deceleration * dt_ms * 1000;
    int64_t left = magnitude(state->velocity) - step;
    left = left < 0 ? 0 : left;
    state->velocity = with_sign(left, state->velocity);
    state->acceleration = 0;
    if (!limit->velocity_joint) {
        advance(limit, state, dt_ms);
    }
}

int32_t limit_output(const joint_limit *limit, const limit_state *state) {
    int64_t unit = limit->velocity_joint ? INT64_C(1000000) : INT64_C(1000000000);
    int64_t value = limit->velocity_joint ? state->velocity : state->position;
    int64_t rounded = (magnitude(value) + unit / 2) / unit;
    return (int32_t)with_sign(rounded, value);
}
