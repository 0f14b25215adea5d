/* A library with one operator, test.ops.Twice: every number times two. Written against the binary interface of ONNX Runtime,
 * whose table of functions only ever grows at its end. With -DNOTHING it is a library that offers no operators. */
#include <stddef.h>
#include <stdint.h>

#ifndef NOTHING

typedef struct status status;
typedef struct {
  const void *const *(*api)(uint32_t version);
  const char *(*version)(void);
} api_base;

typedef struct operator {
  uint32_t version;
  void *(*create)(const struct operator *, const void *const *, const void *);
  const char *(*name)(const struct operator *);
  const char *(*provider)(const struct operator *);
  int (*input_type)(const struct operator *, size_t);
  size_t (*inputs)(const struct operator *);
  int (*output_type)(const struct operator *, size_t);
  size_t (*outputs)(const struct operator *);
  void (*compute)(void *, void *);
  void (*destroy)(void *);
  int (*input_kind)(const struct operator *, size_t);
  int (*output_kind)(const struct operator *, size_t);
  int (*memory)(const struct operator *, size_t);
  void *of_later_versions[32];
} operator;

/* The places of functions in the table of the interface. */
enum {
  CREATE_DOMAIN = 26, ADD_TO_DOMAIN = 27, ADD_DOMAIN = 28, MUTABLE_DATA = 51, DIMENSION_COUNT = 61, DIMENSIONS = 62,
  ELEMENT_COUNT = 64, TYPE_AND_SHAPE = 65, GET_INPUT = 90, GET_OUTPUT = 91, RELEASE_TYPE_AND_SHAPE = 99,
};
enum { FLOAT = 1, MOST_DIMENSIONS = 8 };

static const void *const *api;

static void *create(const operator *self, const void *const *table, const void *info) {
  (void)table, (void)info;
  return (void *)self;
}
static const char *name(const operator *self) { return (void)self, "Twice"; }
static const char *provider(const operator *self) { return (void)self, NULL; }
static int type(const operator *self, size_t index) { return (void)self, (void)index, FLOAT; }
static int plain(const operator *self, size_t index) { return (void)self, (void)index, 0; }
static size_t one(const operator *self) { return (void)self, 1; }
static void destroy(void *kernel) { (void)kernel; }

static void compute(void *kernel, void *context) {
  const void *input = NULL;
  void *shape = NULL, *output = NULL;
  float *from = NULL, *to = NULL;
  int64_t dimensions[MOST_DIMENSIONS];
  size_t count = 0, length = 0;
  (void)kernel;
  ((status * (*)(const void *, size_t, const void **)) api[GET_INPUT])(context, 0, &input);
  ((status * (*)(const void *, void **)) api[TYPE_AND_SHAPE])(input, &shape);
  ((status * (*)(const void *, size_t *)) api[DIMENSION_COUNT])(shape, &count);
  if (count <= MOST_DIMENSIONS) {
    ((status * (*)(const void *, int64_t *, size_t)) api[DIMENSIONS])(shape, dimensions, count);
    ((status * (*)(const void *, size_t *)) api[ELEMENT_COUNT])(shape, &length);
    ((status * (*)(void *, size_t, const int64_t *, size_t, void **)) api[GET_OUTPUT])(context, 0, dimensions, count, &output);
    ((status * (*)(void *, void **)) api[MUTABLE_DATA])((void *)input, (void **)&from);
    ((status * (*)(void *, void **)) api[MUTABLE_DATA])(output, (void **)&to);
    for (size_t index = 0; index < length; index++) to[index] = 2 * from[index];
  }
  ((void (*)(void *))api[RELEASE_TYPE_AND_SHAPE])(shape);
}

static const operator twice = {
    .version = 7, .create = create, .name = name, .provider = provider, .input_type = type, .inputs = one,
    .output_type = type, .outputs = one, .compute = compute, .destroy = destroy,
    .input_kind = plain, .output_kind = plain, .memory = plain,
};

status *RegisterCustomOps(void *options, const api_base *base) {
  void *domain = NULL;
  api = base->api(7);
  status *failed = ((status * (*)(const char *, void **)) api[CREATE_DOMAIN])("test.ops", &domain);
  if (!failed) failed = ((status * (*)(void *, const operator *)) api[ADD_TO_DOMAIN])(domain, &twice);
  if (!failed) failed = ((status * (*)(void *, void *)) api[ADD_DOMAIN])(options, domain);
  return failed;
}

#else

int nothing(void) { return 0; }

#endif
