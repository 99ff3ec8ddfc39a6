#ifndef COMPANION_ERRNO_H
#define COMPANION_ERRNO_H
extern int errno;
#define EINVAL 22
#define ENOMEM 12
#define ERANGE 34
#define ENOSYS 38
#endif
