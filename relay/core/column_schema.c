/* SPDX-License-Identifier: ISC */
/*
 * column_schema.c - the schema of a field, as Debezium's connector for PostgreSQL gives it
 *
 * io.debezium.connector.postgresql.PostgresValueConverter.schemaBuilder of 3.0.
 */
#include "column.h"

#include "config.h"

#include <stdio.h>
#include <string.h>

#define KAFKA "org.apache.kafka.connect.data."

static struct connect_schema plain(enum connect_type type)
{
	return (struct connect_schema){.type = type};
}

static struct connect_schema named(enum connect_type type, const char *name)
{
	return (struct connect_schema){
	    .type = type, .name = slice_of(name), .versioned = true, .version = 1};
}

static struct connect_schema logical(enum connect_type type, enum connect_logical kind,
				     const char *name)
{
	struct connect_schema schema = named(type, name);

	schema.logical = kind;
	return schema;
}

static struct slice number_text(struct arena *arena, int number)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", number);

	return (struct slice){arena_copy(arena, text, (size_t)len), (size_t)len};
}

static struct connect_schema variable_scale(void)
{
	static const struct connect_schema scale = {.type = CONNECT_INT32},
					   value = {.type = CONNECT_BYTES};
	static const struct connect_member members[] = {{{"scale", 5}, &scale},
							{{"value", 5}, &value}};
	struct connect_schema schema =
	    named(CONNECT_STRUCT, "io.debezium.data.VariableScaleDecimal");

	schema.doc = "Variable scaled decimal";
	schema.members = members;
	schema.member_count = 2;
	return schema;
}

static struct connect_schema decimal(struct arena *arena, const struct field_type *type,
				     const struct column_modes *modes)
{
	struct connect_schema schema;

	if (modes->decimal == DECIMAL_STRING)
		return plain(CONNECT_STRING);
	if (modes->decimal == DECIMAL_DOUBLE)
		return plain(CONNECT_FLOAT64);
	if (!column_has_scale(type) && !modes->printed)
		return variable_scale();
	schema = logical(CONNECT_BYTES, LOGICAL_DECIMAL, KAFKA "Decimal");
	if (!column_has_scale(type))
		return schema;
	schema.parameters[0] = (struct connect_parameter){"scale", number_text(arena, type->scale)};
	schema.parameters[1] = (struct connect_parameter){"connect.decimal.precision",
							  number_text(arena, type->precision)};
	schema.parameter_count = 2;
	return schema;
}

static struct connect_schema time_of_day(const struct field_type *type,
					 const struct column_modes *modes)
{
	if (modes->time == TIME_CONNECT)
		return logical(CONNECT_INT32, LOGICAL_TIME, KAFKA "Time");
	if (modes->time == TIME_ADAPTIVE && column_is_coarse(type))
		return named(CONNECT_INT32, "io.debezium.time.Time");
	return named(CONNECT_INT64, "io.debezium.time.MicroTime");
}

static struct connect_schema timestamp(const struct field_type *type,
				       const struct column_modes *modes)
{
	if (modes->time == TIME_CONNECT)
		return logical(CONNECT_INT64, LOGICAL_TIMESTAMP, KAFKA "Timestamp");
	return named(CONNECT_INT64, column_is_coarse(type) ? "io.debezium.time.Timestamp"
							   : "io.debezium.time.MicroTimestamp");
}

static struct connect_schema date(const struct column_modes *modes)
{
	return modes->time == TIME_CONNECT ? logical(CONNECT_INT32, LOGICAL_DATE, KAFKA "Date")
					   : named(CONNECT_INT32, "io.debezium.time.Date");
}

static struct connect_schema enumeration(struct arena *arena, const struct field_type *type)
{
	struct connect_schema schema = named(CONNECT_STRING, "io.debezium.data.Enum");
	const char *labels = type->labels != NULL ? type->labels : "";
	size_t len = strlen(labels);

	schema.parameters[0] = (struct connect_parameter){
	    "allowed", (struct slice){arena_copy(arena, labels, len), len}};
	schema.parameter_count = 1;
	return schema;
}

static struct connect_schema array(struct arena *arena, const struct field_type *type,
				   const struct column_modes *modes)
{
	struct field_type element = column_element(type);

	return (struct connect_schema){.type = CONNECT_ARRAY,
				       .items = column_schema(arena, &element, modes)};
}

static struct connect_schema schema_of(struct arena *arena, const struct field_type *type,
				       const struct column_modes *modes)
{
	switch (type->kind) {
	case FIELD_BOOL:
		return plain(CONNECT_BOOLEAN);
	case FIELD_INT16:
		return plain(CONNECT_INT16);
	case FIELD_INT32:
		return plain(CONNECT_INT32);
	case FIELD_INT64:
		return plain(CONNECT_INT64);
	case FIELD_FLOAT32:
		return plain(CONNECT_FLOAT32);
	case FIELD_FLOAT64:
		return plain(CONNECT_FLOAT64);
	case FIELD_DECIMAL:
		return decimal(arena, type, modes);
	case FIELD_BYTES:
		return plain(modes->binary == BINARY_BYTES ? CONNECT_BYTES : CONNECT_STRING);
	case FIELD_UUID:
		return named(CONNECT_STRING, "io.debezium.data.Uuid");
	case FIELD_JSON:
		return named(CONNECT_STRING, "io.debezium.data.Json");
	case FIELD_XML:
		return named(CONNECT_STRING, "io.debezium.data.Xml");
	case FIELD_ENUM:
		return enumeration(arena, type);
	case FIELD_DATE:
		return date(modes);
	case FIELD_TIME:
		return time_of_day(type, modes);
	case FIELD_TIME_ZONED:
		return named(CONNECT_STRING, "io.debezium.time.ZonedTime");
	case FIELD_TIMESTAMP:
		return timestamp(type, modes);
	case FIELD_TIMESTAMP_UTC:
		return named(CONNECT_STRING, "io.debezium.time.ZonedTimestamp");
	case FIELD_INTERVAL:
		return modes->interval == INTERVAL_STRING
			   ? named(CONNECT_STRING, "io.debezium.time.Interval")
			   : named(CONNECT_INT64, "io.debezium.time.MicroDuration");
	case FIELD_ARRAY:
		return array(arena, type, modes);
	case FIELD_UNKNOWN:
	case FIELD_TEXT:
	case FIELD_CHAR:
	case FIELD_ADDRESS:
		break;
	}
	return plain(CONNECT_STRING);
}

const struct connect_schema *column_schema(struct arena *arena, const struct field_type *type,
					   const struct column_modes *modes)
{
	struct connect_schema *schema;

	if (type->kind == FIELD_UNKNOWN ||
	    (type->kind == FIELD_ARRAY && type->element == FIELD_UNKNOWN))
		return NULL;
	schema = arena_take(arena, sizeof(*schema));
	*schema = schema_of(arena, type, modes);
	schema->optional = !type->required;
	return schema;
}
