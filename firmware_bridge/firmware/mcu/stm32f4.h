/* STM32F405: the registers this port uses (RM0090), and its own files among each other. */
#ifndef COMPANION_STM32F4_H
#define COMPANION_STM32F4_H

#include "mcu.h"

#define RCC 0x40023800u
#define RCC_CR (RCC + 0x00)
#define RCC_PLLCFGR (RCC + 0x04)
#define RCC_CFGR (RCC + 0x08)
#define RCC_AHB1ENR (RCC + 0x30)
#define RCC_APB1ENR (RCC + 0x40)
#define RCC_APB2ENR (RCC + 0x44)
#define RCC_CSR (RCC + 0x74)
#define FLASH_ACR 0x40023C00u
#define FLASH_KEYR 0x40023C04u
#define FLASH_SR 0x40023C0Cu
#define FLASH_CR 0x40023C10u
#define IWDG_KR 0x40003000u
#define IWDG_PR 0x40003004u
#define IWDG_RLR 0x40003008u
#define IWDG_SR 0x4000300Cu
#define USART1 0x40011000u
#define SPI2 0x40003800u
#define ADC1 0x40012000u
#define ADC_CCR 0x40012304u
#define DMA1 0x40026000u
#define DMA2 0x40026400u
#define TIM1 0x40010000u
#define TIM5 0x40000C00u
#define TIM4 0x40000800u

enum { TIM_CR1 = 0x00, TIM_SMCR = 0x08, TIM_DIER = 0x0C, TIM_EGR = 0x14, TIM_CCMR1 = 0x18,
       TIM_CCMR2 = 0x1C, TIM_CCER = 0x20, TIM_CNT = 0x24, TIM_PSC = 0x28, TIM_ARR = 0x2C,
       TIM_CCR1 = 0x34, TIM_BDTR = 0x44 };

enum { PIN_INPUT, PIN_OUTPUT, PIN_ALTERNATE, PIN_ANALOG };
enum { PULL_NONE, PULL_UP, PULL_DOWN };

/* Pins are port times sixteen plus number, as board_header.py writes them. */
void pin_mode(uint32_t pin, uint32_t mode, uint32_t pull, uint32_t alternate);
void pin_write(uint32_t pin, bool high);
bool pin_read(uint32_t pin);
uint32_t timer_base(uint32_t number);
uint32_t timer_alternate(uint32_t number);

/* stm32_body.c */
void body_start(void);
int32_t body_sample(uint32_t index); /* newest ADC count, in the order of BOARD_ADC_CHANNELS */

/* stm32_motors.c */
void motors_start(void);
void motors_sense(plant_sensors *s, uint64_t now_us);
void motors_drive(const plant_outputs *outputs, const plant_sensors *s);

#endif
