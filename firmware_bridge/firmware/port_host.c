/* The firmware as a Linux process on a pty: the same core, in real time.
 *
 *   companion-firmware --plant-fd N [--clock-start-us X] [--uid TEXT] [--boot-id N] [--fifo PRIO]
 *                      [--baud RATE] [--seed N]
 *   companion-firmware --dump-limits       its limit table, raw, for comparison
 *
 * Prints the path of the pty's slave end. It holds that end open itself, so that hosts may come and
 * go. Time comes from a free-running counter: a late process catches up, it never counts ticks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "core.h"
#include "limits_gen.h"
#include "port_wire.h"

static volatile sig_atomic_t ended;
static core firmware;
static wire line;

static void on_end(int signal_number) {
    (void)signal_number;
    ended = 1;
}

static int fail(const char *what) {
    fprintf(stderr, "companion-firmware: %s: %s\n", what, strerror(errno));
    return 1;
}

static uint64_t monotonic_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

typedef struct {
    int plant_fd, fifo;
    uint32_t baud;
    uint64_t clock_start_us, seed;
    core_identity identity;
} options;

static int parse(int count, char **arguments, options *o) {
    for (int i = 1; i + 1 < count; i += 2) {
        const char *name = arguments[i], *value = arguments[i + 1];
        if (!strcmp(name, "--plant-fd")) {
            o->plant_fd = atoi(value);
        } else if (!strcmp(name, "--clock-start-us")) {
            o->clock_start_us = strtoull(value, NULL, 10);
        } else if (!strcmp(name, "--uid")) {
            size_t length = strlen(value);
            memcpy(o->identity.uid, value, length < 12 ? length : 12);
        } else if (!strcmp(name, "--boot-id")) {
            o->identity.boot_id = (uint32_t)strtoul(value, NULL, 10);
        } else if (!strcmp(name, "--fifo")) {
            o->fifo = atoi(value);
        } else if (!strcmp(name, "--baud")) {
            o->baud = (uint32_t)strtoul(value, NULL, 10);
        } else if (!strcmp(name, "--seed")) {
            o->seed = strtoull(value, NULL, 10);
        } else {
            fprintf(stderr, "companion-firmware: unknown option %s\n", name);
            return 2;
        }
    }
    if (o->plant_fd < 0) {
        fprintf(stderr, "companion-firmware: --plant-fd N is missing\n");
        return 2;
    }
    if (!wire_init(&line, o->baud, o->seed)) {
        fprintf(stderr, "companion-firmware: --baud %u: not a rate that serial ports have\n", o->baud);
        return 2;
    }
    return 0;
}

static plant *map_plant(int fd) {
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return NULL;
    }
    if ((size_t)info.st_size < sizeof(plant)) {
        errno = EINVAL;
        return NULL;
    }
    plant *p = mmap(NULL, sizeof(plant), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        return NULL;
    }
    plant_init(p);
    errno = EPROTO;
    return plant_valid(p) ? p : NULL;
}

/* Master end of a raw pty; its slave end stays open in this process. */
static int open_pty(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        return -1;
    }
    const char *path = ptsname(master);
    int slave = path ? open(path, O_RDWR | O_NOCTTY | O_CLOEXEC) : -1;
    struct termios settings;
    if (slave < 0 || tcgetattr(slave, &settings) != 0) {
        return -1;
    }
    cfmakeraw(&settings);
    if (tcsetattr(slave, TCSANOW, &settings) != 0 || !wire_set(&line, slave) || fcntl(master, F_SETFL, O_NONBLOCK) != 0) {
        return -1;
    }
    printf("%s\n", path);
    fflush(stdout);
    return master;
}

static void prepare(const options *o, pid_t parent) {
    struct sigaction action = {.sa_handler = on_end};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        ended = 1; /* the parent died before it could be watched */
    }
    prctl(PR_SET_TIMERSLACK, 1000ul);
    if (o->fifo > 0) { /* without the privilege it runs at normal priority */
        struct sched_param parameter = {.sched_priority = o->fifo};
        sched_setscheduler(0, SCHED_FIFO, &parameter);
    }
}

static void send_pending(int master, uint64_t now) {
    size_t size;
    const uint8_t *data = core_pending(&firmware, &size);
    size_t room = wire_allows(&line, &line.tx, now);
    size = size < room ? size : room;
    if (size == 0) {
        return;
    }
    uint8_t heard[CORE_TX_SIZE];
    if (wire_garbles(&line, master)) {
        memcpy(heard, data, size);
        wire_garble(&line, heard, size);
        data = heard;
    }
    ssize_t written = write(master, data, size);
    if (written > 0) {
        core_sent(&firmware, (size_t)written);
        wire_pass(&line.tx, (size_t)written);
    }
}

static void receive(int master, uint64_t offset_us, size_t room) {
    uint8_t data[1024];
    ssize_t size = read(master, data, room < sizeof data ? room : sizeof data);
    if (size <= 0) {
        return;
    }
    wire_pass(&line.rx, (size_t)size);
    if (wire_garbles(&line, master)) {
        wire_garble(&line, data, (size_t)size);
    }
    /* the time after the read: what came while this process was held up must not be dated before */
    core_receive(&firmware, monotonic_us() + offset_us, data, (size_t)size);
}

static void serve(int master, uint64_t offset_us) {
    while (!ended) {
        uint64_t now = monotonic_us() + offset_us;
        uint64_t due = firmware.next_tick_us;
        struct timespec wait = {0, due > now ? (long)((due - now) * 1000) : 0};
        bool open = wire_allows(&line, &line.rx, now) > 0;
        struct pollfd watched = {.fd = master, .events = open ? POLLIN : 0};
        int ready = ppoll(&watched, open ? 1 : 0, &wait, NULL);
        now = monotonic_us() + offset_us;
        if (ready > 0) {
            receive(master, offset_us, wire_allows(&line, &line.rx, now));
        }
        core_run(&firmware, now);
        send_pending(master, now);
    }
}

int main(int count, char **arguments) {
    pid_t parent = getppid();
    if (count == 2 && !strcmp(arguments[1], "--dump-limits")) {
        return fwrite(&LIMITS, sizeof LIMITS, 1, stdout) == 1 ? 0 : 1;
    }
    options o = {.plant_fd = -1, .baud = 921600, .clock_start_us = (UINT64_C(1) << 32) - 20000000u};
    if (getrandom(&o.identity.boot_id, sizeof o.identity.boot_id, 0) < 0) {
        return fail("random boot id");
    }
    int usage = parse(count, arguments, &o);
    if (usage) {
        return usage;
    }
    plant *p = map_plant(o.plant_fd);
    if (p == NULL) {
        return fail("plant memory");
    }
    prepare(&o, parent);
    int master = open_pty();
    if (master < 0) {
        return fail("pty");
    }
    core_init(&firmware, &LIMITS, p, &o.identity, o.clock_start_us);
    serve(master, o.clock_start_us - monotonic_us());
    core_park(&firmware);
    return 0;
}
