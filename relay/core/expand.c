/* SPDX-License-Identifier: ISC */
/*
 * expand.c - a JSON payload as data of Kafka Connect with the schema that is inferred from it
 *
 * io.debezium.transforms.outbox.JsonSchemaData of 3.0. First the schema is inferred, which fails
 * with an exception at what has none: then the payload stays a string. Then the value is put into
 * it; what does not go in stops Debezium, since the payload has the new schema already.
 */
#include "expand.h"

#include "json_tree.h"

#include <string.h>

/* Of comparing members with each other, which may take the square of their number. Debezium has no
 * limit, and takes the minutes. */
enum { WORK_MOST = 10 * 1000 * 1000 };

struct inferring {
	struct arena *arena;
	const struct expand_options *options;
	bool failed; /* with an exception */
	size_t work;
};

static const struct connect_schema optional_string = {.type = CONNECT_STRING, .optional = true},
				   optional_boolean = {.type = CONNECT_BOOLEAN, .optional = true},
				   optional_int32 = {.type = CONNECT_INT32, .optional = true},
				   optional_int64 = {.type = CONNECT_INT64, .optional = true},
				   optional_float64 = {.type = CONNECT_FLOAT64, .optional = true},
				   optional_bytes = {.type = CONNECT_BYTES, .optional = true};

static const struct connect_schema *infer(struct inferring *in, struct slice key,
					  const struct json *node);

static bool is_int32(const struct json *node)
{
	return node->kind == JSON_INTEGER && node->integer >= INT32_MIN &&
	       node->integer <= INT32_MAX;
}

static bool is_number(const struct json *node)
{
	return node->kind == JSON_INTEGER || node->kind == JSON_BIG || node->kind == JSON_REAL;
}

static const struct connect_schema *number_schema(const struct json *node)
{
	if (is_int32(node))
		return &optional_int32;
	return node->kind == JSON_INTEGER ? &optional_int64 : &optional_float64;
}

static const struct connect_schema *fail(struct inferring *in)
{
	in->failed = true;
	return NULL;
}

/* ---- objects ---- */

static bool is_blank(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.data[i] > ' ')
			return false;
	return true;
}

static struct slice key_of_member(struct inferring *in, struct slice key, struct slice name)
{
	char *joined;

	if (is_blank(key))
		return name;
	joined = arena_take(in->arena, key.len + 1 + name.len + 1);
	memcpy(joined, key.data, key.len);
	joined[key.len] = '.';
	memcpy(joined + key.len + 1, name.data, name.len);
	return (struct slice){joined, key.len + 1 + name.len};
}

static const struct connect_schema *infer_object(struct inferring *in, struct slice key,
						 const struct json *node)
{
	struct connect_schema *schema = arena_take(in->arena, sizeof(*schema));
	struct connect_member *members =
	    arena_take(in->arena, (node->count + 1) * sizeof(*members));

	*schema = (struct connect_schema){
	    .type = CONNECT_STRUCT, .optional = true, .name = key, .members = members};
	for (size_t i = 0; i < node->count; i++) {
		const struct connect_schema *member =
		    infer(in, key_of_member(in, key, node->names[i]), &node->items[i]);

		if (in->failed || (member != NULL && node->names[i].len == 0))
			return fail(in);
		if (member != NULL)
			members[schema->member_count++] =
			    (struct connect_member){node->names[i], member};
	}
	return schema;
}

/* ---- arrays ---- */

/* The first element that is not null; NULL if there is none. Fails where others are of another
 * kind. */
static const struct json *sample_of(struct inferring *in, const struct json *array)
{
	const struct json *sample = NULL;

	for (size_t i = 0; i < array->count; i++) {
		const struct json *item = &array->items[i];

		if (item->kind == JSON_NULL)
			continue;
		if (sample == NULL)
			sample = item;
		bool same = is_number(sample)
				? is_number(item) && number_schema(sample) == number_schema(item)
				: sample->kind == item->kind;
		if (!same)
			fail(in);
	}
	return sample;
}

/* The shapes of an array's elements, merged. */
struct merging {
	struct connect_schema *schema;
	struct connect_member *members;
	size_t room;
};

static struct connect_member *find_member(struct inferring *in, const struct merging *merging,
					  struct slice name)
{
	for (size_t i = 0; i < merging->schema->member_count; i++)
		if (slice_equal(merging->members[i].name, name)) {
			in->work += i;
			return &merging->members[i];
		}
	in->work += merging->schema->member_count;
	return NULL;
}

static void add_member(struct inferring *in, struct merging *merging,
		       const struct connect_member *member)
{
	size_t count = merging->schema->member_count;

	if (count == merging->room) {
		struct connect_member *more;

		merging->room = count * 2 + 8;
		more = arena_take(in->arena, merging->room * sizeof(*more));
		if (count > 0)
			memcpy(more, merging->members, count * sizeof(*more));
		merging->members = more;
		merging->schema->members = more;
	}
	merging->members[merging->schema->member_count++] = *member;
}

/* The members of both. */
static void merge(struct inferring *in, struct merging *merging, const struct connect_schema *right)
{
	for (size_t i = 0; i < right->member_count; i++) {
		const struct connect_member *member = &right->members[i];
		struct connect_member *old = find_member(in, merging, member->name);

		if (old == NULL)
			add_member(in, merging, member);
		else if (old->schema->type == CONNECT_BYTES &&
			 member->schema->type != CONNECT_BYTES)
			*old = *member;
	}
}

/* The first shape, and what others are merged with is not optional any more, as
 * SchemaUtil.copySchemaBasics leaves that out. */
static const struct connect_schema *take_shape(struct inferring *in, struct merging *merging,
					       const struct connect_schema *first,
					       const struct connect_schema *schema)
{
	if (first == NULL)
		return schema;
	if (merging->schema == NULL) {
		merging->schema = arena_take(in->arena, sizeof(*merging->schema));
		*merging->schema =
		    (struct connect_schema){.type = CONNECT_STRUCT, .name = first->name};
		merge(in, merging, first);
	}
	merge(in, merging, schema);
	return merging->schema;
}

static bool is_known(struct inferring *in, const struct connect_schema *const *known, size_t count,
		     const struct connect_schema *schema)
{
	for (size_t i = 0; i < count; i++) {
		in->work += 1 + schema->member_count;
		if (connect_same_schema(known[i], schema))
			return true;
	}
	return false;
}

/* Of elements that are objects: of each shape once. */
static const struct connect_schema *infer_objects(struct inferring *in, struct slice key,
						  const struct json *array)
{
	const struct connect_schema **known =
	    arena_take(in->arena, (array->count + 1) * sizeof(struct connect_schema *));
	const struct connect_schema *shape = NULL;
	struct merging merging = {0};
	size_t count = 0;

	for (size_t i = 0; i < array->count; i++) {
		const struct connect_schema *schema;

		if (array->items[i].kind != JSON_OBJECT)
			continue;
		schema = infer(in, key, &array->items[i]);
		if (in->failed || in->work > WORK_MOST)
			return fail(in);
		if (is_known(in, known, count, schema))
			continue;
		known[count++] = schema;
		shape = take_shape(in, &merging, shape, schema);
	}
	return shape;
}

static const struct connect_schema *infer_items(struct inferring *in, struct slice key,
						const struct json *array)
{
	static const struct json null = {.kind = JSON_NULL};
	const struct json *sample = sample_of(in, array);
	const struct connect_schema *items;

	if (in->failed)
		return NULL;
	if (sample != NULL && sample->kind == JSON_OBJECT)
		return infer_objects(in, key, array);
	items = infer(in, SLICE_NULL, sample != NULL ? sample : &null);
	return items != NULL ? items : fail(in);
}

static const struct connect_schema *infer_array(struct inferring *in, struct slice key,
						const struct json *node)
{
	struct connect_schema *schema;
	const struct connect_schema *items = &optional_string;

	if (node->count == 0 && !in->options->keeps_empty_arrays)
		return NULL;
	if (node->count > 0)
		items = infer_items(in, key, node);
	if (in->failed)
		return NULL;
	schema = arena_take(in->arena, sizeof(*schema));
	*schema = (struct connect_schema){.type = CONNECT_ARRAY, .optional = true, .items = items};
	return schema;
}

/* NULL: it has no schema, and a member is left out; or it has failed. */
static const struct connect_schema *infer(struct inferring *in, struct slice key,
					  const struct json *node)
{
	switch (node->kind) {
	case JSON_NULL:
		return in->options->keeps_nulls ? &optional_bytes : NULL;
	case JSON_BOOLEAN:
		return &optional_boolean;
	case JSON_INTEGER:
	case JSON_BIG:
	case JSON_REAL:
		return number_schema(node);
	case JSON_STRING:
		return &optional_string;
	case JSON_ARRAY:
		return infer_array(in, key, node);
	case JSON_OBJECT:
		return infer_object(in, key, node);
	}
	return NULL;
}

/* ---- values ---- */

static bool convert(struct inferring *in, const struct connect_schema *schema,
		    const struct json *node, struct connect_value *value);

/* from: where the last one was found; mostly the next one is behind it. */
static const struct json *member_of(struct inferring *in, const struct json *object,
				    struct slice name, size_t *from)
{
	for (size_t i = 0; i < object->count; i++) {
		size_t at = (*from + i) % object->count;

		in->work++;
		if (slice_equal(object->names[at], name)) {
			*from = at + 1;
			return &object->items[at];
		}
	}
	return NULL;
}

static bool convert_object(struct inferring *in, const struct connect_schema *schema,
			   const struct json *node, struct connect_value *value)
{
	size_t from = 0;

	value->count = schema->member_count;
	value->items = arena_take(in->arena, (value->count + 1) * sizeof(*value->items));
	for (size_t i = 0; i < value->count && in->work <= WORK_MOST; i++) {
		const struct json *member = member_of(in, node, schema->members[i].name, &from);

		value->items[i].null = member == NULL;
		if (member != NULL &&
		    !convert(in, schema->members[i].schema, member, &value->items[i]))
			return false;
	}
	return true;
}

static bool convert_array(struct inferring *in, const struct connect_schema *schema,
			  const struct json *node, struct connect_value *value)
{
	value->count = node->count;
	value->items = arena_take(in->arena, (node->count + 1) * sizeof(*value->items));
	for (size_t i = 0; i < node->count; i++)
		if (!convert(in, schema->items, &node->items[i], &value->items[i]))
			return false;
	return true;
}

/* Of whatever kind a schema is, it takes a value of just its own type. */
static bool convert_scalar(const struct connect_schema *schema, const struct json *node,
			   struct connect_value *value)
{
	value->integer = node->integer;
	value->real = node->real;
	value->text = node->text;
	switch (node->kind) {
	case JSON_BOOLEAN:
		return schema->type == CONNECT_BOOLEAN;
	case JSON_INTEGER:
		return schema->type == (is_int32(node) ? CONNECT_INT32 : CONNECT_INT64);
	case JSON_REAL:
		return schema->type == CONNECT_FLOAT64;
	case JSON_STRING:
		return schema->type == CONNECT_STRING;
	default:
		return false;
	}
}

/* False if the value does not go into the schema. */
static bool convert(struct inferring *in, const struct connect_schema *schema,
		    const struct json *node, struct connect_value *value)
{
	if (node->kind == JSON_NULL) {
		value->null = true;
		return schema->optional;
	}
	if (node->kind == JSON_OBJECT)
		return schema->type == CONNECT_STRUCT && convert_object(in, schema, node, value);
	if (node->kind == JSON_ARRAY)
		return schema->type == CONNECT_ARRAY && convert_array(in, schema, node, value);
	return convert_scalar(schema, node, value);
}

static enum expanded expand_failed(struct error *err, const char *what)
{
	error_set(err,
		  "the payload cannot be expanded: %s; change it, or set encode.expand = false",
		  what);
	return EXPAND_FAILED;
}

static enum expanded convert_all(struct inferring *in, const struct connect_schema *schema,
				 const struct json *tree, struct connect_value *value,
				 struct error *err)
{
	if (tree->kind == JSON_ARRAY)
		return expand_failed(err, "it is an array, and only an object can be");
	*value = (struct connect_value){0};
	bool good = convert(in, schema, tree, value);
	if (in->work > WORK_MOST)
		return expand_failed(err, "its objects have too many different members");
	if (!good)
		return expand_failed(err, "it has a whole number of more than 64 bits, or an array "
					  "whose elements differ in the type of a member, or in "
					  "being null");
	return EXPANDED;
}

enum expanded expand(struct arena *arena, const struct expand_options *options, struct slice text,
		     const struct connect_schema **schema, struct connect_value *value,
		     struct error *err)
{
	struct inferring in = {.arena = arena, .options = options};
	const struct json *tree;

	if (text.len == 0 || (text.data[0] != '{' && text.data[0] != '['))
		return EXPAND_KEPT;
	tree = json_tree(arena, text);
	if (tree == NULL)
		return EXPAND_KEPT;
	if (json_has_nul_name(text))
		return expand_failed(err, "a name in it has the character \\u0000");
	*schema = infer(&in, options->name, tree);
	if (in.work > WORK_MOST)
		return expand_failed(err, "its objects have too many different members");
	if (in.failed)
		return EXPAND_KEPT;
	if (*schema == NULL)
		return EXPAND_NO_SCHEMA;
	return convert_all(&in, *schema, tree, value, err);
}
