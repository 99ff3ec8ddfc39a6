/* ARM MPS2+ AN386 as QEMU emulates it: UART0, the FPGA's counter, the CMSDK watchdog, PSRAM as flash. */
#include <string.h>

#include "mcu.h"
#include "nvm.h"

#define UART 0x40004000u
#define UART_DATA (UART + 0x00)
#define UART_STATE (UART + 0x04)
#define UART_CTRL (UART + 0x08)
#define UART_INT (UART + 0x0C)
#define UART_BAUDDIV (UART + 0x10)
#define COUNTER 0x40028018u /* FPGAIO: free-running */
#define PRESCALE 0x4002801Cu
#define WATCHDOG 0x40008000u

extern uint32_t _stack_top;
void Reset_Handler(void);
void Fault_Handler(void);

static void systick(void) {} /* wakes the main loop, nothing more: time is the counter's */

static void unused(void) {}

static void uart_received(void) {
    REGISTER(UART_INT) = 2;
    while (REGISTER(UART_STATE) & 2u) {
        serial_took((uint8_t)REGISTER(UART_DATA));
    }
}

static void uart_sent(void) {
    uint8_t byte;
    REGISTER(UART_INT) = 1;
    while (!(REGISTER(UART_STATE) & 1u) && serial_next(&byte)) {
        REGISTER(UART_DATA) = byte;
    }
}

/* The watchdog's first expiry interrupts, its second resets: leave the first as it is. */
__attribute__((section(".vectors"), used)) static const void *const VECTORS[16 + 2] = {
    &_stack_top,   Reset_Handler, unused, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler,
    [11] = unused, [14] = unused, [15] = systick,
    [16] = uart_received, [17] = uart_sent,
};

uint8_t mcu_start(bool application) {
    (void)application;
    mcu_lock();
    REGISTER(0xE000ED08) = (uint32_t)(uintptr_t)VECTORS;
    REGISTER(PRESCALE) = BOARD_CORE_HZ / 1000000u - 1;
    REGISTER(0xE000E014) = BOARD_CORE_HZ / 1000u - 1; /* SysTick: 1 kHz */
    REGISTER(0xE000E018) = 0;
    REGISTER(0xE000E010) = 7;
    REGISTER(UART_BAUDDIV) = BOARD_CORE_HZ / BOARD_BAUD < 16 ? 16 : BOARD_CORE_HZ / BOARD_BAUD;
    REGISTER(UART_CTRL) = 0xF;
    REGISTER(0xE000E100) = 3; /* both UART interrupts */
    REGISTER(WATCHDOG + 0xC00) = 0x1ACCE551;
    REGISTER(WATCHDOG + 0x00) = BOARD_CORE_HZ / 1000u * BOARD_WATCHDOG_MS / 2;
    REGISTER(WATCHDOG + 0x08) = 3;
    mcu_unlock(0);
    return RESET_CAUSE_POWER; /* this chip does not know; RAM does */
}

uint32_t mcu_counter(void) { return REGISTER(COUNTER); }

void mcu_feed(void) {
    REGISTER(WATCHDOG + 0x0C) = 1; /* clears the interrupt and reloads */
}

void mcu_uid(uint8_t *uid) { memcpy(uid, (const void *)BOARD_UID, 12); }

void mcu_uart_transmit(bool on) {
    uint32_t mask = mcu_lock();
    if (on) {
        uart_sent();
    }
    mcu_unlock(mask);
}

plant *mcu_plant(void) {
    plant *p = (plant *)(uintptr_t)BOARD_PLANT;
    plant_init(p);
    return p;
}

void mcu_sense(plant *p, uint64_t now_us) { (void)p, (void)now_us; }

void mcu_drive(const plant *p) { (void)p; }

void nvm_pause(void) { mcu_feed(); }

const uint8_t *nvm_at(uint32_t offset) { return (const uint8_t *)(uintptr_t)(NVM_BASE + offset); }

/* RAM with the manners of flash: erased to ones, written from one to zero. */
bool nvm_erase(uint32_t offset, uint32_t size) {
    for (uint32_t done = 0; done < size; done += 0x1000) {
        memset((void *)(uintptr_t)(NVM_BASE + offset + done), 0xFF, size - done < 0x1000 ? size - done : 0x1000);
        mcu_feed();
    }
    return true;
}

bool nvm_write(uint32_t offset, const void *data, uint32_t size) {
    volatile uint8_t *to = (volatile uint8_t *)(uintptr_t)(NVM_BASE + offset);
    const uint8_t *from = data;
    for (uint32_t i = 0; i < size; i++) {
        to[i] = to[i] & from[i];
    }
    return memcmp((const void *)(uintptr_t)(NVM_BASE + offset), data, size) == 0;
}
