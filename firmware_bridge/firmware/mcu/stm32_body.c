/* The rest of the body: ADC, IMU (ICM-42688-P over SPI), switches, battery, range, LED ring. */
#include "limits_gen.h"
#include "stm32f4.h"

#define DMA2_S0 (DMA2 + 0x10)
#define DMA1_S6 (DMA1 + 0x10 + 6 * 0x18)
#define IMU_READ 0x80u
#define IMU_WHO_AM_I 0x75
#define IMU_STATUS 0x2D
#define IMU_DATA 0x1F
#define GRAVITY 9.80665f
#define LED_BITS 24
#define LED_COUNT (sizeof(led_duty) / sizeof(led_duty[0]) / LED_BITS)
#define LED_PERIOD 105 /* 800 kHz of an 84 MHz timer */
#define LED_EVERY_US 20000

static const uint8_t CHANNELS[BOARD_SAMPLES] = BOARD_ADC_CHANNELS;
static const uint8_t CLIFFS[] = CLIFF_PINS, BUMPERS[] = BUMPER_PINS;
static const struct { uint8_t axis; int8_t sign; } AXES[3] = IMU_AXES;

static volatile uint16_t samples[BOARD_SAMPLES];
static uint16_t led_duty[(12 + 2) * LED_BITS]; /* two dark ones: the pause that ends a frame */
static plant_sensors sensed;
static bool imu_there;
static uint64_t led_us;

int32_t body_sample(uint32_t index) { return samples[index]; }

/* ADC1 runs over all channels for ever, DMA2 stream 0 keeps `samples` fresh. */
static void start_adc(void) {
    REGISTER(RCC_APB2ENR) |= 1u << 8;
    REGISTER(ADC_CCR) = 1u << 16; /* / 4 */
    REGISTER(ADC1 + 0x0C) = 0x24924924u & 0x07FFFFFFu; /* 84 cycles, channels 10 to 18 */
    REGISTER(ADC1 + 0x10) = 0x24924924u & 0x3FFFFFFFu; /* channels 0 to 9 */
    for (uint32_t i = 0; i < BOARD_SAMPLES; i++) {
        uint32_t at = ADC1 + (i < 6 ? 0x34u : i < 12 ? 0x30u : 0x2Cu);
        REGISTER(at) |= (uint32_t)CHANNELS[i] << (5 * (i % 6));
    }
    REGISTER(ADC1 + 0x2C) |= (BOARD_SAMPLES - 1u) << 20;
    REGISTER(DMA2_S0 + 0x08) = ADC1 + 0x4C;
    REGISTER(DMA2_S0 + 0x0C) = (uint32_t)(uintptr_t)samples;
    REGISTER(DMA2_S0 + 0x04) = BOARD_SAMPLES;
    REGISTER(DMA2_S0 + 0x00) = 1u << 13 | 1u << 11 | 1u << 10 | 1u << 8 | 1u; /* 16 bits, circular */
    REGISTER(ADC1 + 0x04) = 1u << 8;                                          /* scan */
    REGISTER(ADC1 + 0x08) = 1u | 2u | 1u << 8 | 1u << 9;
    REGISTER(ADC1 + 0x08) |= 1u << 30;
}

static uint8_t spi(uint8_t out) {
    REGISTER(SPI2 + 0x0C) = out;
    for (uint32_t i = 0; i < 10000 && !(REGISTER(SPI2 + 0x08) & 1u); i++) {
    }
    return (uint8_t)REGISTER(SPI2 + 0x0C);
}

static void imu_read(uint8_t from, uint8_t *out, uint32_t count) {
    pin_write(PIN_IMU_CS, false);
    spi(from | IMU_READ);
    for (uint32_t i = 0; i < count; i++) {
        out[i] = spi(0);
    }
    pin_write(PIN_IMU_CS, true);
}

static void imu_write(uint8_t to, uint8_t value) {
    pin_write(PIN_IMU_CS, false);
    spi(to);
    spi(value);
    pin_write(PIN_IMU_CS, true);
}

/* 500 Hz, 8 g and 1000 degrees/s: the ranges the body file names (ICM-42688-P datasheet, section 14). */
static void start_imu(void) {
    uint8_t who;
    REGISTER(RCC_APB1ENR) |= 1u << 14;
    pin_mode(PIN_IMU_CS, PIN_OUTPUT, PULL_NONE, 0);
    pin_write(PIN_IMU_CS, true);
    pin_mode(PIN_IMU_SCK, PIN_ALTERNATE, PULL_NONE, 5);
    pin_mode(PIN_IMU_MISO, PIN_ALTERNATE, PULL_UP, 5);
    pin_mode(PIN_IMU_MOSI, PIN_ALTERNATE, PULL_NONE, 5);
    REGISTER(SPI2 + 0x00) = 1u << 9 | 1u << 8 | 1u << 6 | 1u << 3 | 1u << 2 | 3u; /* master, / 4, mode 3 */
    imu_read(IMU_WHO_AM_I, &who, 1);
    imu_there = who == 0x47;
    imu_write(0x4F, 1u << 5 | 0x0F);
    imu_write(0x50, 1u << 5 | 0x0F);
    imu_write(0x4E, 0x0F);
}

static void start_leds(void) {
    REGISTER(RCC_APB1ENR) |= 1u << 2;
    pin_mode(PIN_LED, PIN_ALTERNATE, PULL_NONE, 2);
    REGISTER(TIM4 + TIM_ARR) = LED_PERIOD - 1;
    REGISTER(TIM4 + TIM_CCMR2) = 0x68;
    REGISTER(TIM4 + TIM_CCER) = 1u << 8;
    REGISTER(TIM4 + TIM_DIER) = 1u << 8; /* DMA at each update */
    REGISTER(TIM4 + TIM_CR1) = 0x81;
}

void body_start(void) {
    static const uint8_t ANALOG[] = BOARD_ADC_CHANNELS;
    for (uint32_t i = 0; i < BOARD_SAMPLES; i++) { /* channel to pin: A0-7, B0-1, C0-5 */
        uint32_t c = ANALOG[i];
        pin_mode(c < 8 ? c : c < 10 ? 16 + c - 8 : 32 + c - 10, PIN_ANALOG, PULL_NONE, 0);
    }
    for (uint32_t i = 0; i < CLIFF_COUNT; i++) {
        pin_mode(CLIFFS[i], PIN_INPUT, PULL_UP, 0);
    }
    for (uint32_t i = 0; i < BUMPER_COUNT; i++) {
        pin_mode(BUMPERS[i], PIN_INPUT, PULL_UP, 0);
    }
    pin_mode(PIN_STOP, PIN_INPUT, PULL_UP, 0);
    start_adc();
    start_imu();
    start_leds();
}

static float turned(const int16_t *raw, uint32_t i) { return (float)(raw[AXES[i].axis] * AXES[i].sign); }

static bool sense_imu(void) {
    uint8_t status, bytes[12];
    int16_t raw[6];
    imu_read(IMU_STATUS, &status, 1);
    if (!imu_there || !(status & 8u)) {
        return false;
    }
    imu_read(IMU_DATA, bytes, sizeof bytes);
    for (int i = 0; i < 6; i++) {
        raw[i] = (int16_t)(bytes[2 * i] << 8 | bytes[2 * i + 1]);
    }
    for (uint32_t i = 0; i < 3; i++) {
        sensed.accel_m_s2[i] = turned(raw, i) * (GRAVITY / 4096.0f);
        sensed.gyro_rad_s[i] = turned(raw + 3, i) * (0.0174532925f / 32.8f);
    }
    sensed.imu_seq++;
    return true;
}

static void sense_inputs(void) {
    sensed.stop_input = !pin_read(PIN_STOP);
    sensed.cliff = sensed.bumper = 0;
    for (uint32_t i = 0; i < CLIFF_COUNT; i++) {
        sensed.cliff |= (uint8_t)(!pin_read(CLIFFS[i]) << i);
    }
    for (uint32_t i = 0; i < BUMPER_COUNT; i++) {
        sensed.bumper |= (uint8_t)(!pin_read(BUMPERS[i]) << i);
    }
    int32_t battery_ma = (body_sample(BATTERY_CURRENT) - BATTERY_CURRENT_ZERO) * (BATTERY_UA_PER_COUNT / 10) / 100;
    sensed.battery_mv = (uint16_t)(body_sample(BATTERY_VOLTAGE) * (BATTERY_UV_PER_COUNT / 10) / 100);
    sensed.battery_ma = (int16_t)(battery_ma > 32767 ? 32767 : battery_ma);
    sensed.range_mm = 0xFFFF;
#if RANGE_SAMPLE >= 0
    int32_t above = body_sample(RANGE_SAMPLE) - RANGE_ZERO;
    int32_t mm = above > 0 ? RANGE_K / above : RANGE_MAX_MM;
    sensed.range_mm = mm >= RANGE_MAX_MM ? 0xFFFF : (uint16_t)mm;
#endif
}

void mcu_sense(plant *p, uint64_t now_us) {
    motors_sense(&sensed, now_us);
    sense_inputs();
    if (sense_imu()) {
        plant_write_sensors(p, &sensed);
    }
}

static void show_leds(const plant_outputs *o, uint64_t now_us) {
    if (now_us - led_us < LED_EVERY_US) {
        return;
    }
    led_us = now_us;
    const uint32_t colour = (uint32_t)o->led_rgb[1] << 16 | (uint32_t)o->led_rgb[0] << 8 | o->led_rgb[2];
    for (uint32_t i = 0; i < (LED_COUNT - 2) * LED_BITS; i++) {
        led_duty[i] = colour >> (LED_BITS - 1 - i % LED_BITS) & 1u ? 67 : 33;
    }
    REGISTER(DMA1_S6 + 0x00) = 0;
    REGISTER(DMA1 + 0x0C) = 0x3Du << 16; /* clear stream 6 */
    REGISTER(DMA1_S6 + 0x08) = TIM4 + TIM_CCR1 + 8;
    REGISTER(DMA1_S6 + 0x0C) = (uint32_t)(uintptr_t)led_duty;
    REGISTER(DMA1_S6 + 0x04) = sizeof led_duty / sizeof led_duty[0];
    REGISTER(DMA1_S6 + 0x00) = 2u << 25 | 1u << 13 | 1u << 11 | 1u << 10 | 1u << 6 | 1u;
}

void mcu_drive(const plant *p) {
    plant_outputs o;
    if (plant_read_outputs(p, &o)) {
        motors_drive(&o, &sensed);
        show_leds(&o, mcu_us());
    }
}
