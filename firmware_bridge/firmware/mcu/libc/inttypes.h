#include <stdint.h>
#define PRIu32 "u"
#define PRIi64 "lld"
