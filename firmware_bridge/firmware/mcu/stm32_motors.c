/* Wheels: encoder, velocity loop, H-bridge. Servos: pulse out, angle and current back by ADC. */
#include "stm32f4.h"

#define PWM_HZ 20000u
#define SERVO_US 20000u
#define SERVO_CENTRE_US 1500u
#define WINDOW 10 /* ms over which a wheel's speed is measured: one encoder count is 0.2 rad/s then */
#define DUTY 1000000
#define STEP_US 1000

typedef struct {
    uint8_t pwm_timer, pwm_channel, pwm_pin, direction_pin, encoder_timer, encoder_pin_a, encoder_pin_b;
    uint8_t current_sample, position_sample;
    int8_t polarity, encoder_sign;
    int32_t counts_per_turn, gain_p, gain_i;
    int32_t ua_per_count, current_zero, urad_per_count, position_zero, pulse_ns_per_mrad;
} joint_wiring;

static const joint_wiring JOINTS[BOARD_JOINTS] = BOARD_JOINT_ROWS;

static struct {
    uint16_t raw;
    int64_t counts;
    int64_t window[WINDOW]; /* of counts, ring */
    int32_t velocity; /* 1e-3 rad/s */
    int64_t integral; /* of 1e-6 duty */
} wheel[BOARD_JOINTS];

static uint32_t slot;
static uint64_t next_us;

static bool is_wheel(const joint_wiring *j) { return j->counts_per_turn != 0; }

static void start_pwm(const joint_wiring *j) {
    uint32_t timer = timer_base(j->pwm_timer), channel = j->pwm_channel - 1u;
    uint32_t mode = timer + (channel < 2 ? TIM_CCMR1 : TIM_CCMR2);
    REGISTER(timer + TIM_PSC) = is_wheel(j) ? 0 : BOARD_CORE_HZ / 1000000u - 1; /* both on APB2 */
    REGISTER(timer + TIM_ARR) = is_wheel(j) ? BOARD_CORE_HZ / PWM_HZ - 1 : SERVO_US - 1;
    REGISTER(mode) |= 0x68u << (channel % 2 * 8); /* PWM mode 1, preloaded */
    REGISTER(timer + TIM_CCR1 + 4 * channel) = 0;
    REGISTER(timer + TIM_CCER) |= 1u << (4 * channel);
    REGISTER(timer + TIM_BDTR) = 1u << 15;
    REGISTER(timer + TIM_EGR) = 1;
    REGISTER(timer + TIM_CR1) = 0x81;
    pin_mode(j->pwm_pin, PIN_ALTERNATE, PULL_NONE, timer_alternate(j->pwm_timer));
}

static void start_encoder(const joint_wiring *j) {
    uint32_t timer = timer_base(j->encoder_timer);
    REGISTER(RCC_APB1ENR) |= 1u << (j->encoder_timer - 2u);
    REGISTER(timer + TIM_CCMR1) = 0xF1F1; /* both inputs, filtered */
    REGISTER(timer + TIM_SMCR) = 3;       /* both edges */
    REGISTER(timer + TIM_ARR) = 0xFFFF;
    REGISTER(timer + TIM_CR1) = 1;
    pin_mode(j->encoder_pin_a, PIN_ALTERNATE, PULL_UP, timer_alternate(j->encoder_timer));
    pin_mode(j->encoder_pin_b, PIN_ALTERNATE, PULL_UP, timer_alternate(j->encoder_timer));
    pin_mode(j->direction_pin, PIN_OUTPUT, PULL_NONE, 0);
}

void motors_start(void) {
    REGISTER(RCC_APB2ENR) |= 3u; /* TIM1, TIM8 */
    for (uint32_t i = 0; i < BOARD_JOINTS; i++) {
        start_pwm(&JOINTS[i]);
        if (is_wheel(&JOINTS[i])) {
            start_encoder(&JOINTS[i]);
        }
    }
}

/* Counts to micro-radians: 2 pi in 1e-6. */
static int64_t urad(const joint_wiring *j, int64_t counts) { return counts * 6283185 / j->counts_per_turn; }

static void sense_wheel(uint32_t i, plant_sensors *s) {
    const joint_wiring *j = &JOINTS[i];
    uint16_t raw = (uint16_t)REGISTER(timer_base(j->encoder_timer) + TIM_CNT);
    wheel[i].counts += (int16_t)(raw - wheel[i].raw) * j->encoder_sign;
    wheel[i].raw = raw;
    int64_t moved = wheel[i].counts - wheel[i].window[slot];
    wheel[i].window[slot] = wheel[i].counts;
    wheel[i].velocity = (int32_t)(urad(j, moved) / WINDOW); /* urad per ms is 1e-3 rad/s */
    s->position[i] = (int32_t)(urad(j, wheel[i].counts) / 100);
    s->velocity[i] = wheel[i].velocity;
}

static void sense_servo(uint32_t i, plant_sensors *s) {
    const joint_wiring *j = &JOINTS[i];
    int32_t angle = (body_sample(j->position_sample) - j->position_zero) * j->urad_per_count * j->encoder_sign;
    int32_t before = s->position[i];
    s->position[i] = angle / 100; /* 1e-4 rad, the scale of the body's position joints */
    s->velocity[i] += ((s->position[i] - before) * 100 - s->velocity[i]) / 8; /* per ms, smoothed */
}

void motors_sense(plant_sensors *s, uint64_t now_us) {
    if (now_us < next_us) {
        return;
    }
    next_us = now_us - next_us < STEP_US ? next_us + STEP_US : now_us + STEP_US;
    for (uint32_t i = 0; i < BOARD_JOINTS; i++) {
        const joint_wiring *j = &JOINTS[i];
        int32_t current = (body_sample(j->current_sample) - j->current_zero) * (j->ua_per_count / 10) / 100;
        s->current_ma[i] = (int16_t)(current > 32767 ? 32767 : current < -32767 ? -32767 : current);
        if (is_wheel(j)) {
            sense_wheel(i, s);
        } else {
            sense_servo(i, s);
        }
    }
    slot = (slot + 1) % WINDOW;
}

/* PI on speed; near the current limit the duty is taken back, so that a jammed wheel stays within it. */
static void drive_wheel(uint32_t i, const plant_outputs *o, const plant_sensors *s) {
    const joint_wiring *j = &JOINTS[i];
    int32_t error = o->target[i] - wheel[i].velocity;
    wheel[i].integral += (int64_t)error * j->gain_i / 1000;
    int64_t duty = (int64_t)error * j->gain_p + wheel[i].integral;
    int32_t current = s->current_ma[i] < 0 ? -s->current_ma[i] : s->current_ma[i];
    int32_t most = current > o->current_limit_ma[i] ? DUTY * (int64_t)o->current_limit_ma[i] / current / 2 : DUTY;
    if (duty > most || duty < -most) {
        duty = duty > 0 ? most : -most;
        wheel[i].integral = duty; /* no wind-up */
    }
    duty *= j->polarity;
    pin_write(j->direction_pin, duty < 0);
    uint32_t top = BOARD_CORE_HZ / PWM_HZ;
    REGISTER(timer_base(j->pwm_timer) + TIM_CCR1 + 4u * (j->pwm_channel - 1u)) =
        (uint32_t)((duty < 0 ? -duty : duty) * top / DUTY);
}

/* A hobby servo has no current limit of its own: above it the pulse is left out and it goes limp. */
static void drive_servo(uint32_t i, const plant_outputs *o, const plant_sensors *s) {
    const joint_wiring *j = &JOINTS[i];
    int32_t current = s->current_ma[i] < 0 ? -s->current_ma[i] : s->current_ma[i];
    int32_t pulse = (int32_t)SERVO_CENTRE_US + o->target[i] * j->pulse_ns_per_mrad / 10000 * j->polarity;
    bool limp = current > o->current_limit_ma[i];
    REGISTER(timer_base(j->pwm_timer) + TIM_CCR1 + 4u * (j->pwm_channel - 1u)) = limp ? 0 : (uint32_t)pulse;
}

void motors_drive(const plant_outputs *o, const plant_sensors *s) {
    static uint32_t tick;
    if (o->tick_count == tick) { /* bytes wake the main loop too: the integral counts ticks */
        return;
    }
    tick = o->tick_count;
    pin_write(PIN_ENABLE, o->enable);
#ifdef PIN_BRAKE
    pin_write(PIN_BRAKE, o->enable && !o->brake); /* without power they fall in by themselves */
#endif
    for (uint32_t i = 0; i < BOARD_JOINTS; i++) {
        bool braked = o->brake && is_wheel(&JOINTS[i]); /* no duty: the bridge shorts the motor */
        if (!o->enable || braked) {
            wheel[i].integral = 0;
            REGISTER(timer_base(JOINTS[i].pwm_timer) + TIM_CCR1 + 4u * (JOINTS[i].pwm_channel - 1u)) = 0;
        } else if (is_wheel(&JOINTS[i])) {
            drive_wheel(i, o, s);
        } else {
            drive_servo(i, o, s);
        }
    }
}
