// A CUDA driver without a card: it takes the place of libcuda.so, computes nothing, and writes down what it is asked for.
//
// Programs run under it as they would on a card, but for what they read back, which is zeros. So their launches can be counted,
// their kernels looked at, and the time of the processor measured that they need. `launches.py` does so.
//
// NO_CARD_LOG names the file for lines of `milliseconds what ...`, NO_CARD_PTX a folder for the kernels.
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef uint64_t Pointer;
enum { SUCCESS = 0, INVALID_DEVICE = 101, HOST = 1 };
static const size_t MEMORY = (size_t)80 << 30;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *log_file;
static size_t held;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

__attribute__((format(printf, 1, 2))) static int note(const char *format, ...) {
    pthread_mutex_lock(&lock);
    if (!log_file) {
        const char *path = getenv("NO_CARD_LOG");
        log_file = fopen(path ? path : "/dev/null", "w");
        if (!log_file) abort();
        setvbuf(log_file, NULL, _IOFBF, 1 << 20);
    }
    fprintf(log_file, "%.3f ", now());
    va_list arguments;
    va_start(arguments, format);
    vfprintf(log_file, format, arguments);
    va_end(arguments);
    fputc('\n', log_file);
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

__attribute__((destructor)) static void finish(void) {
    if (log_file) fflush(log_file);
}

// The device: an H100.
int cuInit(unsigned flags) { return SUCCESS; }
int cuDriverGetVersion(int *version) { return *version = 12080, SUCCESS; }
int cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }
int cuDeviceGet(int *device, int index) { return *device = index, index == 0 ? SUCCESS : INVALID_DEVICE; }
int cuDeviceGetName(char *name, int length, int device) { return snprintf(name, length, "no card"), SUCCESS; }
int cuDeviceGetPCIBusId(char *id, int length, int device) { return snprintf(id, length, "0000:01:00.0"), SUCCESS; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = MEMORY, SUCCESS; }
int cuDeviceGetUuid(char *uuid, int device) { return memset(uuid, 1, 16), SUCCESS; }
int cuDeviceGetUuid_v2(char *uuid, int device) { return memset(uuid, 1, 16), SUCCESS; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 1: case 2: case 3: *value = 1024; break;      // threads of a block, along x, along y
    case 4: *value = 64; break;                        // along z
    case 5: *value = 2147483647; break;                // blocks of a grid along x
    case 6: case 7: *value = 65535; break;             // along y, z
    case 8: *value = 49152; break;                     // shared memory of a block
    case 10: *value = 32; break;                       // warp
    case 12: case 82: *value = 65536; break;           // registers of a block, of a multiprocessor
    case 16: *value = 132; break;                      // multiprocessors
    case 38: *value = 50 << 20; break;                 // second-level cache
    case 39: *value = 2048; break;                     // threads of a multiprocessor
    case 75: *value = 9; break;                        // compute capability
    case 76: *value = 0; break;
    case 81: *value = 233472; break;                   // shared memory of a multiprocessor
    case 97: *value = 232448; break;                   // of a block that asks for it
    default: *value = 1;
    }
    return SUCCESS;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { return *context = (void *)1, SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int device) { return SUCCESS; }
int cuCtxSetCurrent(void *context) { return SUCCESS; }
int cuCtxGetCurrent(void **context) { return *context = (void *)1, SUCCESS; }
int cuCtxGetDevice(int *device) { return *device = 0, SUCCESS; }
int cuCtxSynchronize(void) { return note("synchronize"); }
int cuCtxGetStreamPriorityRange(int *least, int *greatest) { return *least = 0, *greatest = -5, SUCCESS; }
int cuGetErrorString(int error, const char **text) { return *text = "no card", SUCCESS; }
int cuGetErrorName(int error, const char **text) { return *text = "NO_CARD", SUCCESS; }

// Streams and events; the time between events is the processor's, so that loops which wait for it end.
int cuStreamCreate(void **stream, unsigned flags) { return *stream = malloc(1), SUCCESS; }
int cuStreamCreateWithPriority(void **stream, unsigned flags, int priority) { return *stream = malloc(1), SUCCESS; }
int cuStreamDestroy_v2(void *stream) { return SUCCESS; }
int cuStreamSynchronize(void *stream) { return note("synchronize"); }
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) { return SUCCESS; }
int cuStreamQuery(void *stream) { return SUCCESS; }
int cuStreamIsCapturing(void *stream, int *status) { return *status = 0, SUCCESS; }
int cuEventCreate(void **event, unsigned flags) { return *event = calloc(1, sizeof(double)), SUCCESS; }
int cuEventRecord(void *event, void *stream) { return *(double *)event = now(), SUCCESS; }
int cuEventSynchronize(void *event) { return SUCCESS; }
int cuEventQuery(void *event) { return SUCCESS; }
int cuEventElapsedTime(float *ms, void *from, void *to) { return *ms = *(double *)to - *(double *)from, SUCCESS; }
int cuEventElapsedTime_v2(float *ms, void *from, void *to) { return cuEventElapsedTime(ms, from, to); }
int cuEventDestroy_v2(void *event) { return free(event), SUCCESS; }

// Memory of the device is addresses and nothing behind them.
int cuMemAlloc_v2(Pointer *pointer, size_t bytes) {
    static Pointer next = (Pointer)7 << 40;
    pthread_mutex_lock(&lock);
    *pointer = next;
    next += (bytes + ((size_t)2 << 20)) & ~(((Pointer)2 << 20) - 1);
    held += bytes;
    pthread_mutex_unlock(&lock);
    return note("alloc %zu held %zu", bytes, held);
}
int cuMemAllocAsync(Pointer *pointer, size_t bytes, void *stream) { return cuMemAlloc_v2(pointer, bytes); }
int cuMemFree_v2(Pointer pointer) { return note("free"); }
int cuMemFreeAsync(Pointer pointer, void *stream) { return note("free"); }
int cuMemGetInfo_v2(size_t *left, size_t *total) { return *total = MEMORY, *left = held < MEMORY ? MEMORY - held : 0, SUCCESS; }
int cuMemAllocHost_v2(void **pointer, size_t bytes) { return *pointer = malloc(bytes), SUCCESS; }
int cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags) { return *pointer = malloc(bytes), SUCCESS; }
int cuMemFreeHost(void *pointer) { return free(pointer), SUCCESS; }
int cuMemcpyDtoH_v2(void *to, Pointer from, size_t bytes) { return memset(to, 0, bytes), note("read %zu", bytes); }
int cuMemcpyDtoHAsync_v2(void *to, Pointer from, size_t bytes, void *stream) { return cuMemcpyDtoH_v2(to, from, bytes); }
int cuMemcpyHtoD_v2(Pointer to, const void *from, size_t bytes) { return note("write %zu", bytes); }
int cuMemcpyHtoDAsync_v2(Pointer to, const void *from, size_t bytes, void *stream) { return note("write %zu", bytes); }
int cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void *stream) { return note("copy %zu", bytes); }
int cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, void *stream) { return note("set %zu", bytes); }
int cuMemsetD32Async(Pointer to, unsigned value, size_t words, void *stream) { return note("set %zu", 4 * words); }
struct Copy {
    size_t from_x, from_y; int from; const void *from_host; Pointer from_device; void *from_array; size_t from_pitch;
    size_t to_x, to_y; int to; char *to_host; Pointer to_device; void *to_array; size_t to_pitch;
    size_t width, height;
};
int cuMemcpy2DAsync_v2(const struct Copy *copy, void *stream) {
    for (size_t row = 0; copy->to == HOST && row < copy->height; row++)
        memset(copy->to_host + (copy->to_y + row) * copy->to_pitch + copy->to_x, 0, copy->width);
    return note("%s %zu", copy->to == HOST ? "read" : "write", copy->width * copy->height);
}
int cuTensorMapEncodeTiled(void *map) { return memset(map, 0, 128), SUCCESS; }
int cuTensorMapEncodeIm2col(void *map) { return memset(map, 0, 128), SUCCESS; }

// Kernels.
int cuModuleLoadData(void **module, const void *image) {
    static uintptr_t modules;
    pthread_mutex_lock(&lock);
    uintptr_t number = ++modules;
    pthread_mutex_unlock(&lock);
    const char *folder = getenv("NO_CARD_PTX");
    if (folder) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%zu.ptx", folder, (size_t)number);
        FILE *file = fopen(path, "w");
        if (!file) abort();
        fputs(image, file);
        fclose(file);
    }
    return *module = (void *)number, SUCCESS;
}
int cuModuleUnload(void *module) { return SUCCESS; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = strdup(name);
    return note("module %zu %s", (size_t)module, name);
}
int cuFuncSetAttribute(void *function, int attribute, int value) { return SUCCESS; }
int cuFuncGetAttribute(int *value, int attribute, void *function) { return *value = 0, SUCCESS; }
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **parameters, void **extra) {
    return note("launch %s %u,%u,%u %u,%u,%u", (const char *)function, gx, gy, gz, bx, by, bz);
}
int cuStreamBeginCapture_v2(void *stream, int mode) { return note("capture"); }
int cuStreamEndCapture(void *stream, void **graph) { return *graph = (void *)1, SUCCESS; }
int cuGraphInstantiateWithFlags(void **program, void *graph, unsigned long long flags) { return *program = (void *)1, SUCCESS; }
int cuGraphUpload(void *program, void *stream) { return SUCCESS; }
int cuGraphLaunch(void *program, void *stream) { return note("replay"); }
int cuGraphDestroy(void *graph) { return SUCCESS; }
int cuGraphExecDestroy(void *program) { return SUCCESS; }
int cuGraphGetNodes(void *graph, void **nodes, size_t *count) { return *count = 0, SUCCESS; }
int cuGraphNodeGetType(void *node, int *type) { return *type = 0, SUCCESS; }
