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

struct inferring {
	struct arena *arena;
	const struct expand_options *options;
	bool failed; /* with an exception */
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

static struct connect_member *find_member(struct connect_member *members, size_t count,
					  struct slice name)
{
	for (size_t i = 0; i < count; i++)
		if (slice_equal(members[i].name, name))
			return &members[i];
	return NULL;
}

/* The members of both. The result is not optional any more, as SchemaUtil.copySchemaBasics leaves
 * that out. */
static const struct connect_schema *merge(struct inferring *in, const struct connect_schema *left,
					  const struct connect_schema *right)
{
	struct connect_schema *both = arena_take(in->arena, sizeof(*both));
	struct connect_member *members = arena_take(
	    in->arena, (left->member_count + right->member_count + 1) * sizeof(*members));

	*both = (struct connect_schema){.type = CONNECT_STRUCT,
					.name = left->name,
					.members = members,
					.member_count = left->member_count};
	for (size_t i = 0; i < left->member_count; i++)
		members[i] = left->members[i];
	for (size_t i = 0; i < right->member_count; i++) {
		const struct connect_member *member = &right->members[i];
		struct connect_member *old = find_member(members, both->member_count, member->name);

		if (old == NULL)
			members[both->member_count++] = *member;
		else if (old->schema->type == CONNECT_BYTES &&
			 member->schema->type != CONNECT_BYTES)
			*old = *member;
	}
	return both;
}

static bool is_known(const struct connect_schema *const *known, size_t count,
		     const struct connect_schema *schema)
{
	for (size_t i = 0; i < count; i++)
		if (connect_same_schema(known[i], schema))
			return true;
	return false;
}

/* Of elements that are objects: of each shape once. */
static const struct connect_schema *infer_objects(struct inferring *in, struct slice key,
						  const struct json *array)
{
	const struct connect_schema **known =
	    arena_take(in->arena, (array->count + 1) * sizeof(struct connect_schema *));
	const struct connect_schema *merged = NULL;
	size_t count = 0;

	for (size_t i = 0; i < array->count; i++) {
		const struct connect_schema *schema;

		if (array->items[i].kind != JSON_OBJECT)
			continue;
		schema = infer(in, key, &array->items[i]);
		if (in->failed)
			return NULL;
		if (is_known(known, count, schema))
			continue;
		known[count++] = schema;
		merged = merged == NULL ? schema : merge(in, merged, schema);
	}
	return merged;
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

static bool convert(struct arena *arena, const struct connect_schema *schema,
		    const struct json *node, struct connect_value *value);

static const struct json *member_of(const struct json *object, struct slice name)
{
	for (size_t i = 0; i < object->count; i++)
		if (slice_equal(object->names[i], name))
			return &object->items[i];
	return NULL;
}

static bool convert_object(struct arena *arena, const struct connect_schema *schema,
			   const struct json *node, struct connect_value *value)
{
	value->count = schema->member_count;
	value->items = arena_take(arena, (value->count + 1) * sizeof(*value->items));
	for (size_t i = 0; i < value->count; i++) {
		const struct json *member = member_of(node, schema->members[i].name);

		value->items[i].null = member == NULL;
		if (member != NULL &&
		    !convert(arena, schema->members[i].schema, member, &value->items[i]))
			return false;
	}
	return true;
}

static bool convert_array(struct arena *arena, const struct connect_schema *schema,
			  const struct json *node, struct connect_value *value)
{
	value->count = node->count;
	value->items = arena_take(arena, (node->count + 1) * sizeof(*value->items));
	for (size_t i = 0; i < node->count; i++)
		if (!convert(arena, schema->items, &node->items[i], &value->items[i]))
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
static bool convert(struct arena *arena, const struct connect_schema *schema,
		    const struct json *node, struct connect_value *value)
{
	if (node->kind == JSON_NULL) {
		value->null = true;
		return schema->optional;
	}
	if (node->kind == JSON_OBJECT)
		return schema->type == CONNECT_STRUCT && convert_object(arena, schema, node, value);
	if (node->kind == JSON_ARRAY)
		return schema->type == CONNECT_ARRAY && convert_array(arena, schema, node, value);
	return convert_scalar(schema, node, value);
}

static enum expanded expand_failed(struct error *err, const char *what)
{
	error_set(err,
		  "the payload cannot be expanded: %s; change it, or set encode.expand = false",
		  what);
	return EXPAND_FAILED;
}

enum expanded expand(struct arena *arena, const struct expand_options *options, struct slice text,
		     const struct connect_schema **schema, struct connect_value *value,
		     struct error *err)
{
	struct inferring in = {arena, options, false};
	const struct json *tree;

	if (text.len == 0 || (text.data[0] != '{' && text.data[0] != '['))
		return EXPAND_KEPT;
	tree = json_tree(arena, text);
	if (tree == NULL)
		return EXPAND_KEPT;
	*schema = infer(&in, options->name, tree);
	if (in.failed)
		return EXPAND_KEPT;
	if (*schema == NULL)
		return EXPAND_NO_SCHEMA;
	if (tree->kind == JSON_ARRAY)
		return expand_failed(err, "it is an array, and only an object can be");
	*value = (struct connect_value){0};
	if (!convert(arena, *schema, tree, value))
		return expand_failed(err, "it has a whole number of more than 64 bits, or an array "
					  "whose elements differ in the type of a member, or in "
					  "being null");
	return EXPANDED;
}
