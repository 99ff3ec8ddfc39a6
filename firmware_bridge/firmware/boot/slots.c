#include "slots.h"

#include <string.h>

#include "nvm.h"

#define RECORD_MAGIC 0x544F4C53u /* "SLOT" */

static const uint32_t SLOTS[2] = {NVM_SLOT_A, NVM_SLOT_B};
static const uint32_t RECORDS[2] = {NVM_RECORD_A, NVM_RECORD_B};

_Static_assert(sizeof(slot_record) == 28, "no padding that a CRC would see");

/* CRC-32/ISO-HDLC, bitwise: a few dozen bytes, a few times a day. */
static uint32_t crc32(const void *data, size_t size) {
    const uint8_t *at = data;
    uint32_t crc = ~0u;
    while (size--) {
        crc ^= *at++;
        for (int i = 0; i < 8; i++) {
            crc = crc & 1u ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
        }
    }
    return ~crc;
}

static uint32_t crc_of(const slot_record *r) { return crc32(r, offsetof(slot_record, crc)); }

static bool good(const slot_record *r) {
    return r->magic == RECORD_MAGIC && r->crc == crc_of(r) && r->active < 2;
}

void slots_load(slot_record *record) {
    slot_record found;
    bool any = false;
    for (int i = 0; i < 2; i++) {
        memcpy(&found, nvm_at(RECORDS[i]), sizeof found);
        if (good(&found) && (!any || (int32_t)(found.sequence - record->sequence) > 0)) {
            *record = found;
            any = true;
        }
    }
    if (!any) {
        *record = (slot_record){.magic = RECORD_MAGIC, .pending = SLOT_NONE};
    }
}

bool slots_save(slot_record *record) {
    record->sequence++;
    record->crc = crc_of(record);
    uint32_t place = RECORDS[record->sequence & 1u];
    return nvm_erase(place, NVM_RECORD_SECTOR) && nvm_write(place, record, sizeof *record);
}

image_verdict slots_check(uint32_t slot, image_info *out) {
    return image_check(nvm_at(SLOTS[slot]), NVM_SLOT_SIZE, out);
}

static void refuse(slot_record *r, uint32_t slot, image_verdict why) {
    r->refused = (uint8_t)why;
    r->refused_slot = (uint8_t)slot;
}

/* An image asked for becomes the active one, on trial unless there is nothing to go back to. */
static void promote(slot_record *r) {
    image_info wanted, before;
    uint32_t slot = r->pending;
    r->pending = SLOT_NONE;
    image_verdict found = slot < 2 ? slots_check(slot, &wanted) : IMAGE_EMPTY;
    if (found == IMAGE_OK && !r->forced && image_compare(&wanted.version, &r->floor) < 0) {
        found = IMAGE_DOWNGRADE;
    }
    if (found != IMAGE_OK) {
        refuse(r, slot, found);
    } else if (slot != r->active) {
        bool way_back = slots_check(r->active, &before) == IMAGE_OK;
        r->trial = way_back && !r->permanent;
        r->active = (uint8_t)slot;
        r->refused = IMAGE_OK;
        if (!r->trial) {
            r->floor = wanted.version;
        }
    }
    r->forced = 0;
    r->permanent = 0;
}

image_verdict slots_choose(slot_record *record, image_info *out) {
    slots_load(record);
    slot_record before = *record;
    if (record->trial) { /* it ran once and nobody confirmed it */
        refuse(record, record->active, IMAGE_NOT_CONFIRMED);
        record->active ^= 1u;
        record->trial = 0;
        record->pending = SLOT_NONE;
    } else if (record->pending != SLOT_NONE) {
        promote(record);
    }
    image_verdict found = slots_check(record->active, out);
    if (found != IMAGE_OK) {
        image_info other;
        if (slots_check(record->active ^ 1u, &other) == IMAGE_OK) {
            refuse(record, record->active, found);
            record->active ^= 1u;
            record->trial = 0;
            *out = other;
            found = IMAGE_OK;
        }
    }
    if (memcmp(&before, record, sizeof before) != 0) {
        slots_save(record);
    }
    return found;
}

uint32_t slots_spare(const slot_record *record) {
    image_info active;
    return slots_check(record->active, &active) == IMAGE_OK ? record->active ^ 1u : record->active;
}

bool slots_forget(uint32_t slot) {
    slot_record r;
    slots_load(&r);
    if (r.pending != slot) {
        return true;
    }
    r.pending = SLOT_NONE;
    r.forced = r.permanent = 0;
    return slots_save(&r);
}

image_verdict slots_test(uint32_t slot, bool permanent, bool forced) {
    slot_record r;
    image_info wanted;
    slots_load(&r);
    image_verdict found = slots_check(slot, &wanted);
    if (found != IMAGE_OK) {
        return found;
    }
    if (!forced && image_compare(&wanted.version, &r.floor) < 0) {
        return IMAGE_DOWNGRADE;
    }
    r.pending = (uint8_t)slot;
    r.permanent = permanent;
    r.forced = forced;
    slots_save(&r);
    return IMAGE_OK;
}

bool slots_confirm(const image_version *running) {
    slot_record r;
    slots_load(&r);
    if (!r.trial && image_compare(&r.floor, running) >= 0) {
        return true; /* a fallback that is older leaves the floor where it is */
    }
    r.trial = 0;
    r.floor = *running;
    return slots_save(&r);
}
