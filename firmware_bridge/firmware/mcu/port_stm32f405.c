/* STM32F405 at 168 MHz: clocks, time, UART, watchdog, flash. Built in every check, run on no board yet. */
#include <string.h>

#include "nvm.h"
#include "stm32f4.h"

#define SPIN 2000000u /* loops that a clock or a flash may take; then it goes on without, or says no */
#define USART_SR (USART1 + 0x00)
#define USART_DR (USART1 + 0x04)
#define USART_BRR (USART1 + 0x08)
#define USART_CR1 (USART1 + 0x0C)
#define LOADER_WATCHDOG_MS 30000u /* a sector erase stalls a CPU that runs from flash for seconds */
#define LSI_HZ 32000u
#define IRQ_USART1 37

extern uint32_t _stack_top;
void Reset_Handler(void);
void Fault_Handler(void);

static uint32_t apb2_hz, apb1_timer_hz;

static void systick(void) {} /* wakes the main loop: time is TIM5's */

static void unused(void) {}

/* As long as the register takes bytes; the interrupt is asked for only while there are some. */
static void uart_send(void) {
    uint8_t byte;
    while (REGISTER(USART_SR) & 0x80u) {
        if (!serial_next(&byte)) {
            REGISTER(USART_CR1) &= ~0x80u;
            return;
        }
        REGISTER(USART_DR) = byte;
    }
}

static void uart_interrupt(void) {
    if (REGISTER(USART_SR) & 0x28u) { /* RXNE, or an overrun: reading clears both */
        serial_took((uint8_t)REGISTER(USART_DR));
    }
    if (REGISTER(USART_CR1) & 0x80u) {
        uart_send();
    }
}

__attribute__((section(".vectors"), used)) static const void *const VECTORS[16 + IRQ_USART1 + 1] = {
    &_stack_top,   Reset_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler,
    [11] = unused, [14] = unused, [15] = systick,
    [16 + IRQ_USART1] = uart_interrupt,
};

static bool wait_for(uint32_t address, uint32_t bits) {
    for (uint32_t i = 0; i < SPIN; i++) {
        if ((REGISTER(address) & bits) == bits) {
            return true;
        }
    }
    return false;
}

/* 168 MHz from the crystal; from the RC oscillator (1 % off, which the host's clock sync tells) where
 * there is none. */
static void start_clocks(void) {
    REGISTER(RCC_APB1ENR) |= 1u << 28; /* PWR */
    REGISTER(RCC_CR) |= 1u << 16;
    bool crystal = wait_for(RCC_CR, 1u << 17);
    uint32_t divider = (crystal ? BOARD_HSE_HZ : BOARD_RC_HZ) / 1000000u;
    REGISTER(RCC_CR) &= ~(1u << 24);
    REGISTER(RCC_PLLCFGR) = divider | 336u << 6 | (crystal ? 1u << 22 : 0u) | 7u << 24; /* P = 2 */
    REGISTER(RCC_CR) |= 1u << 24;
    bool locked = wait_for(RCC_CR, 1u << 25);
    REGISTER(FLASH_ACR) = 0x705; /* caches, prefetch, 5 wait states */
    REGISTER(RCC_CFGR) = 5u << 10 | 4u << 13 | (locked ? 2u : 0u); /* APB1 / 4, APB2 / 2 */
    if (locked) {
        wait_for(RCC_CFGR, 2u << 2);
    }
    uint32_t core_hz = locked ? BOARD_CORE_HZ : BOARD_RC_HZ;
    apb2_hz = core_hz / 2;
    apb1_timer_hz = core_hz / 2; /* APB1 is divided by 4, its timers run at twice that */
    REGISTER(0xE000E014) = core_hz / 1000u - 1;
    REGISTER(0xE000E018) = 0;
    REGISTER(0xE000E010) = 7;
}

static void start_time(void) {
    REGISTER(RCC_APB1ENR) |= 1u << 3; /* TIM5, 32 bits */
    REGISTER(TIM5 + TIM_PSC) = apb1_timer_hz / 1000000u - 1;
    REGISTER(TIM5 + TIM_ARR) = 0xFFFFFFFFu;
    REGISTER(TIM5 + TIM_EGR) = 1;
    REGISTER(TIM5 + TIM_CR1) = 1;
}

static void start_uart(void) {
    REGISTER(RCC_APB2ENR) |= 1u << 4;
    pin_mode(PIN_UART_TX, PIN_ALTERNATE, PULL_NONE, 7);
    pin_mode(PIN_UART_RX, PIN_ALTERNATE, PULL_UP, 7);
    REGISTER(USART_BRR) = (apb2_hz + BOARD_BAUD / 2) / BOARD_BAUD;
    REGISTER(USART_CR1) = 0x202C; /* enabled, both ways, interrupt on what came */
    REGISTER(0xE000E104) = 1u << (IRQ_USART1 - 32);
}

static void start_watchdog(uint32_t timeout_ms) {
    REGISTER(IWDG_KR) = 0x5555;
    REGISTER(IWDG_PR) = timeout_ms > 500 ? 6 : 0; /* / 256 or / 4 */
    uint32_t ticks = timeout_ms * (LSI_HZ / 1000u) / (timeout_ms > 500 ? 256u : 4u);
    REGISTER(IWDG_RLR) = ticks > 0xFFF ? 0xFFF : ticks;
    REGISTER(IWDG_KR) = 0xCCCC;
    for (uint32_t i = 0; i < SPIN && REGISTER(IWDG_SR); i++) {
    }
    REGISTER(IWDG_KR) = 0xAAAA;
}

static uint8_t reset_cause(void) {
    uint32_t flags = REGISTER(RCC_CSR);
    REGISTER(RCC_CSR) = flags | 1u << 24;
    if (flags & 1u << 29) {
        return RESET_CAUSE_WATCHDOG;
    }
    if (flags & 1u << 28) {
        return RESET_CAUSE_SOFTWARE;
    }
    return flags & 1u << 25 && !(flags & 1u << 27) ? RESET_CAUSE_BROWN_OUT : RESET_CAUSE_POWER;
}

uint8_t mcu_start(bool application) {
    mcu_lock();
    REGISTER(0xE000ED08) = (uint32_t)(uintptr_t)VECTORS;
    REGISTER(RCC_AHB1ENR) |= 0x7u | 1u << 20 | 3u << 21; /* ports A to C, CCM RAM, both DMAs */
    pin_mode(PIN_ENABLE, PIN_OUTPUT, PULL_NONE, 0);
    pin_write(PIN_ENABLE, false);
#ifdef PIN_BRAKE
    pin_mode(PIN_BRAKE, PIN_OUTPUT, PULL_NONE, 0);
    pin_write(PIN_BRAKE, false);
#endif
    start_clocks();
    start_time();
    start_uart();
    uint8_t cause = application ? RESET_CAUSE_POWER : reset_cause(); /* the loader read and cleared it */
    if (application) {
        body_start();
        motors_start();
    }
    start_watchdog(application ? BOARD_WATCHDOG_MS : LOADER_WATCHDOG_MS);
    mcu_unlock(0);
    return cause;
}

uint32_t mcu_counter(void) { return REGISTER(TIM5 + TIM_CNT); }

void mcu_feed(void) { REGISTER(IWDG_KR) = 0xAAAA; }

void mcu_uid(uint8_t *uid) { memcpy(uid, (const void *)BOARD_UID, 12); }

void mcu_uart_transmit(bool on) {
    uint32_t mask = mcu_lock();
    if (on) {
        REGISTER(USART_CR1) |= 0x80u;
        uart_send();
    }
    mcu_unlock(mask);
}

/* ── flash: erased by sector, written by byte; the application runs from RAM meanwhile ───── */
void nvm_pause(void) { mcu_feed(); }

const uint8_t *nvm_at(uint32_t offset) { return (const uint8_t *)(uintptr_t)(NVM_BASE + offset); }

static bool flash_ready(void) {
    for (uint32_t i = 0; i < 20 * SPIN; i++) {
        if (!(REGISTER(FLASH_SR) & 1u << 16)) {
            bool fine = !(REGISTER(FLASH_SR) & 0xF0u);
            REGISTER(FLASH_SR) = 0xF1u; /* written ones clear */
            return fine;
        }
        mcu_feed();
    }
    return false;
}

static void flash_unlock(void) {
    if (REGISTER(FLASH_CR) & 1u << 31) {
        REGISTER(FLASH_KEYR) = 0x45670123;
        REGISTER(FLASH_KEYR) = 0xCDEF89AB;
    }
    flash_ready();
}

/* The data cache may hold what stood there before. */
static void flash_lock(void) {
    REGISTER(FLASH_CR) = 1u << 31;
    uint32_t acr = REGISTER(FLASH_ACR);
    REGISTER(FLASH_ACR) = acr & ~(1u << 10);
    REGISTER(FLASH_ACR) = (acr & ~(1u << 10)) | 1u << 12;
    REGISTER(FLASH_ACR) = acr;
}

static uint32_t sector_of(uint32_t offset) {
    if (offset < 0x10000) {
        return offset / 0x4000;
    }
    return offset < 0x20000 ? 4 : 4 + offset / 0x20000;
}

static uint32_t sector_size(uint32_t sector) {
    return sector < 4 ? 0x4000 : sector == 4 ? 0x10000 : 0x20000;
}

bool nvm_erase(uint32_t offset, uint32_t size) {
    bool fine = true;
    flash_unlock();
    for (uint32_t done = 0; done < size && fine;) {
        uint32_t sector = sector_of(offset + done);
        REGISTER(FLASH_CR) = 1u << 1 | sector << 3 | 2u << 8;
        REGISTER(FLASH_CR) |= 1u << 16;
        fine = flash_ready();
        done += sector_size(sector);
    }
    flash_lock();
    return fine;
}

bool nvm_write(uint32_t offset, const void *data, uint32_t size) {
    const uint8_t *from = data;
    bool fine = true;
    flash_unlock();
    REGISTER(FLASH_CR) = 1u; /* by byte */
    for (uint32_t i = 0; i < size && fine; i++) {
        *(volatile uint8_t *)(uintptr_t)(NVM_BASE + offset + i) = from[i];
        fine = flash_ready();
    }
    flash_lock();
    return fine && memcmp(nvm_at(offset), data, size) == 0;
}

/* ── pins and timers ─────────────────────────────────────────────────────────────────── */
static uint32_t port_of(uint32_t pin) { return 0x40020000u + 0x400u * (pin / 16); }

static void set_field(uint32_t address, uint32_t shift, uint32_t mask, uint32_t value) {
    REGISTER(address) = (REGISTER(address) & ~(mask << shift)) | value << shift;
}

void pin_mode(uint32_t pin, uint32_t mode, uint32_t pull, uint32_t alternate) {
    uint32_t port = port_of(pin), n = pin % 16;
    set_field(port + 0x20 + 4 * (n / 8), 4 * (n % 8), 0xF, alternate);
    set_field(port + 0x0C, 2 * n, 3, pull);
    set_field(port + 0x08, 2 * n, 3, 2); /* fast */
    set_field(port + 0x00, 2 * n, 3, mode);
}

void pin_write(uint32_t pin, bool high) { REGISTER(port_of(pin) + 0x18) = 1u << (pin % 16 + (high ? 0 : 16)); }

bool pin_read(uint32_t pin) { return REGISTER(port_of(pin) + 0x10) >> (pin % 16) & 1u; }

uint32_t timer_base(uint32_t number) {
    static const uint32_t BASES[] = {0, TIM1, 0x40000000u, 0x40000400u, TIM4, TIM5, 0, 0, 0x40010400u};
    return BASES[number];
}

uint32_t timer_alternate(uint32_t number) { return number <= 2 ? 1 : (number <= 5 ? 2 : 3); }

plant *mcu_plant(void) {
    static plant body;
    plant_init(&body);
    return &body;
}
