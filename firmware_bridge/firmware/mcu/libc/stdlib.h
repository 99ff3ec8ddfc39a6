/* Named by library sources whose functions that would call these are dropped by the linker. */
#ifndef COMPANION_STDLIB_H
#define COMPANION_STDLIB_H
#include <stddef.h>
void abort(void);
void *malloc(size_t size);
void free(void *at);
#endif
