/* Two slots and a record of which one runs.
 *
 * The record stands twice, each copy with a sequence and a CRC; a change goes to the older copy, so
 * that a power cut at any byte leaves the old record or the new one. Nothing is ever swapped in place:
 * images run from RAM, a swap is one new record.
 *
 *   upload -> slots_test(): pending -> loader: on trial -> slots_confirm(), or back at the next boot
 */
#ifndef COMPANION_SLOTS_H
#define COMPANION_SLOTS_H

#include "image.h"

#define SLOT_NONE 0xFF

typedef struct {
    uint32_t magic, sequence;
    uint8_t active, pending, trial, permanent;
    uint8_t forced;      /* the pending image may be older */
    uint8_t refused;     /* image_verdict of the last image that did not get through, 0: none */
    uint8_t refused_slot, pad;
    image_version floor; /* newest version that was confirmed: nothing older without force */
    uint32_t crc;
} slot_record;

void slots_load(slot_record *record);
bool slots_save(slot_record *record);
image_verdict slots_check(uint32_t slot, image_info *out);
/* What the loader does at boot: decides which slot runs, and writes down why another did not. */
image_verdict slots_choose(slot_record *record, image_info *out);
/* Where an upload goes: never over the image that runs. */
uint32_t slots_spare(const slot_record *record);
bool slots_forget(uint32_t slot); /* before a slot is erased: it is not pending any longer */
image_verdict slots_test(uint32_t slot, bool permanent, bool forced);
bool slots_confirm(const image_version *running);

#endif
