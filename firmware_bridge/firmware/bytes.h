/* The only functions a port without a C library must bring; compilers call them on their own too. */
#ifndef COMPANION_BYTES_H
#define COMPANION_BYTES_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);

#endif
