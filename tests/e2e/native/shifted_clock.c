/* A wall clock that is wrong by as many milliseconds as a file says, for a program that this library is preloaded into.
 *
 * libfaketime would do it for other programs; Envoy hangs in it before main(), because its allocator asks for the time while
 * libfaketime's own start allocates. This one allocates nothing. The monotonic clock stays right: Envoy's timers go by it. */

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *offset_ms;

__attribute__((constructor)) static void find_offset(void) {
    const char *path = getenv("SHIFTED_CLOCK_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        abort();
    void *page = mmap(NULL, sizeof *offset_ms, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED)
        abort();
    offset_ms = page;
}

static void shift(int64_t *seconds, int64_t *nanos) {
    int64_t ms = offset_ms ? *offset_ms : 0;
    *seconds += ms / 1000;
    *nanos += ms % 1000 * 1000000;
    if (*nanos < 0) {
        *nanos += 1000000000;
        *seconds -= 1;
    } else if (*nanos >= 1000000000) {
        *nanos -= 1000000000;
        *seconds += 1;
    }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t seconds = now->tv_sec, nanos = now->tv_nsec;
        shift(&seconds, &nanos);
        now->tv_sec = seconds;
        now->tv_nsec = nanos;
    }
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec real;
    if (clock_gettime(CLOCK_REALTIME, &real))
        return -1;
    now->tv_sec = real.tv_sec;
    now->tv_usec = real.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where) {
    struct timespec real;
    if (clock_gettime(CLOCK_REALTIME, &real))
        return (time_t)-1;
    if (where)
        *where = real.tv_sec;
    return real.tv_sec;
}
