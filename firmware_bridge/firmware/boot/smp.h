/* SMP (mcumgr) server of the update: echo, reset, parameters; image list, upload, test, confirm, erase;
 * and one group of our own that says what a person wants to know. Same in loader and application.
 *
 * Errors carry a return code and a sentence, {"rc": N, "rsn": "..."}, in both protocol versions.
 */
#ifndef COMPANION_SMP_H
#define COMPANION_SMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol_gen.h"

#define SMP_GROUP_COMPANION 66 /* user groups start at 64 */

typedef struct {
    bool application; /* false: the loader serves */
    bool driving;     /* motors may move: nothing is updated now */
    uint8_t slot;     /* that runs */
    uint8_t reset_cause;
    const uint8_t *uid; /* 12 bytes */
} smp_state;

typedef struct {
    uint32_t length, offset; /* of the upload; offset also says where a broken one goes on */
    uint8_t slot, sha256[32];
    bool uploading, reset_due;
    uint8_t reply[MAX_SMP];
} smp_server;

/* Answers one request (header and CBOR body); returns the size of `reply`, 0: nothing to answer. */
size_t smp_handle(smp_server *server, const smp_state *state, const uint8_t *request, size_t size);

#endif
