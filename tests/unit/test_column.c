/* SPDX-License-Identifier: ISC */
/*
 * test_column.c - fields as Debezium and the converters of Kafka Connect write them
 */
#include "core/column.h"

#include "base/xalloc.h"
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct field_type type_of(enum field_kind kind, int precision)
{
	return (struct field_type){.kind = kind, .precision = precision, .scale = -1};
}

enum form { IN_JSON, AS_STRING, SIMPLE, SCHEMA };

/* What the text is in this form; NULL: there is no such value. */
static void is_written(const struct field_type *type, struct column_modes modes, const char *text,
		       enum form form, const char *expected)
{
	struct arena arena = {0};
	struct buffer out = {0};
	struct connect_value value;
	struct error err;

	modes.printed = form == AS_STRING;
	const struct connect_schema *schema = column_schema(&arena, type, &modes);
	bool good = column_value(&arena, type, &modes, slice_of(text), &value, &err);
	if (good && form == IN_JSON)
		good = connect_json(&out, schema, &value);
	else if (good && form == AS_STRING)
		connect_string(&out, schema, &value);
	else if (good && form == SIMPLE)
		connect_simple(&out, schema, &value);
	else if (good)
		connect_schema_json(&out, schema);
	if (good != (expected != NULL))
		fail_msg("%s: %s", text, good ? "is written" : err.text);
	if (good) {
		buffer_byte(&out, '\0');
		assert_string_equal(out.data, expected);
	}
	buffer_free(&out);
	arena_free(&arena);
}

static const struct column_modes plain = {0};

static void test_scalars(void **state)
{
	static const struct {
		enum field_kind kind;
		int precision;
		const char *text, *json, *string, *simple;
	} cases[] = {
	    {FIELD_TEXT, -1, "a\"b", "\"a\\\"b\"", "a\"b", "a\"b"},
	    {FIELD_CHAR, 5, "ab", "\"ab   \"", "ab   ", "ab   "},
	    {FIELD_CHAR, 3, "\xc3\xa9", "\"\xc3\xa9  \"", "\xc3\xa9  ", "\xc3\xa9  "},
	    {FIELD_ADDRESS, -1, "10.0.0.1/32", "\"10.0.0.1\"", "10.0.0.1", "10.0.0.1"},
	    {FIELD_ADDRESS, -1, "10.0.0.0/8", "\"10.0.0.0/8\"", "10.0.0.0/8", "10.0.0.0/8"},
	    {FIELD_ADDRESS, -1, "::1/128", "\"::1\"", "::1", "::1"},
	    {FIELD_ADDRESS, -1, "::/32", "\"::/32\"", "::/32", "::/32"},
	    {FIELD_BOOL, -1, "true", "true", "true", "true"},
	    {FIELD_BOOL, -1, "f", "false", "false", "false"},
	    {FIELD_INT16, -1, "-7", "-7", "-7", "-7"},
	    {FIELD_INT64, -1, "9223372036854775807", "9223372036854775807", "9223372036854775807",
	     "9223372036854775807"},
	    {FIELD_INT32, -1, "x", NULL, NULL, NULL},
	    {FIELD_FLOAT32, -1, "3.4e+38", "3.4E38", "3.4E38", "3.4E38"},
	    {FIELD_FLOAT32, -1, "NaN", "\"NaN\"", "NaN", "NaN"},
	    {FIELD_FLOAT64, -1, "1e+20", "1.0E20", "1.0E20", "1.0E20"},
	    {FIELD_FLOAT64, -1, "-Infinity", "\"-Infinity\"", "-Infinity", "-Infinity"},
	    {FIELD_BYTES, -1, "\\x00ff10", "\"AP8Q\"", "java.nio.HeapByteBuffer[pos=0 lim=3 cap=3]",
	     "AP8Q"},
	    {FIELD_BYTES, -1, "\\x", "\"\"", "java.nio.HeapByteBuffer[pos=0 lim=0 cap=0]", ""},
	    {FIELD_BYTES, -1, "00", NULL, NULL, NULL},
	    {FIELD_DATE, -1, "2024-02-29", "19782", "19782", "19782"},
	    {FIELD_DATE, -1, "infinity", "-2147472692", "-2147472692", "-2147472692"},
	    {FIELD_DATE, -1, "-infinity", "-2147472691", "-2147472691", "-2147472691"},
	    {FIELD_DATE, -1, "infinit", NULL, NULL, NULL},
	    {FIELD_TIME, -1, "12:34:56.789012", "45296789012", "45296789012", "45296789012"},
	    {FIELD_TIME, 3, "12:34:56.789", "45296789", "45296789", "45296789"},
	    {FIELD_TIMESTAMP, -1, "1969-12-31 23:59:59.999999", "-1", "-1", "-1"},
	    {FIELD_TIMESTAMP, -1, "infinity", "9223372036825200000", "9223372036825200000",
	     "9223372036825200000"},
	    {FIELD_TIMESTAMP, 3, "-infinity", "-9223372036832400", "-9223372036832400",
	     "-9223372036832400"},
	    {FIELD_TIME, -1, "infinity", NULL, NULL, NULL},
	    {FIELD_TIMESTAMP, 3, "0001-01-01 00:00:00", "-62135596800000", "-62135596800000",
	     "-62135596800000"},
	    {FIELD_TIME_ZONED, -1, "23:59:59-05:30", "\"05:29:59Z\"", "05:29:59Z", "05:29:59Z"},
	    {FIELD_TIME_ZONED, -1, "12:34:56.7+02", "\"10:34:56.7Z\"", "10:34:56.7Z",
	     "10:34:56.7Z"},
	    {FIELD_TIMESTAMP_UTC, -1, "2024-06-15 00:00:00.1+00", "\"2024-06-15T00:00:00.100000Z\"",
	     "2024-06-15T00:00:00.100000Z", "2024-06-15T00:00:00.100000Z"},
	    {FIELD_TIMESTAMP_UTC, 3, "2024-06-15 00:00:00.12+00", "\"2024-06-15T00:00:00.120Z\"",
	     "2024-06-15T00:00:00.120Z", "2024-06-15T00:00:00.120Z"},
	    {FIELD_TIMESTAMP_UTC, 0, "2024-06-15 00:00:01+00", "\"2024-06-15T00:00:01Z\"",
	     "2024-06-15T00:00:01Z", "2024-06-15T00:00:01Z"},
	    {FIELD_TIMESTAMP_UTC, -1, "1969-12-31 23:59:59.999999+00",
	     "\"1969-12-31T23:59:59.999999Z\"", "1969-12-31T23:59:59.999999Z",
	     "1969-12-31T23:59:59.999999Z"},
	    {FIELD_TIMESTAMP_UTC, -1, "10000-01-01 00:00:00+00",
	     "\"+10000-01-01T00:00:00.000000Z\"", "+10000-01-01T00:00:00.000000Z",
	     "+10000-01-01T00:00:00.000000Z"},
	    {FIELD_TIMESTAMP_UTC, -1, "-infinity", "\"-infinity\"", "-infinity", "-infinity"},
	    {FIELD_INTERVAL, -1, "1 year 2 mons 3 days 04:05:06.789", "37091106789000",
	     "37091106789000", "37091106789000"},
	    {FIELD_INTERVAL, -1, "-1 days", "-86400000000", "-86400000000", "-86400000000"},
	    {FIELD_DECIMAL, -1, "1.10", "{\"scale\":1,\"value\":\"Cw==\"}", "1.10",
	     "{\"scale\":1,\"value\":\"Cw==\"}"},
	    {FIELD_DECIMAL, -1, "100", "{\"scale\":0,\"value\":\"ZA==\"}", "100",
	     "{\"scale\":0,\"value\":\"ZA==\"}"},
	    {FIELD_DECIMAL, -1, "NaN", NULL, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct field_type type = type_of(cases[i].kind, cases[i].precision);

		is_written(&type, plain, cases[i].text, IN_JSON, cases[i].json);
		is_written(&type, plain, cases[i].text, AS_STRING, cases[i].string);
		is_written(&type, plain, cases[i].text, SIMPLE, cases[i].simple);
	}
}

static void test_decimals_with_a_scale(void **state)
{
	struct field_type type = {.kind = FIELD_DECIMAL, .precision = 12, .scale = 2};
	struct column_modes modes = plain;

	(void)state;
	is_written(&type, modes, "12345.60", IN_JSON, "\"EtaA\"");
	is_written(&type, modes, "12345.60", SIMPLE, "12345.60");
	is_written(&type, modes, "12345.60", SCHEMA,
		   "{\"type\":\"bytes\",\"optional\":true,\"name\":\"org.apache.kafka.connect.data."
		   "Decimal\",\"version\":1,\"parameters\":{\"scale\":\"2\",\"connect.decimal."
		   "precision\":\"12\"}}");
	modes.decimal = DECIMAL_STRING;
	is_written(&type, modes, "12345.60", IN_JSON, "\"12345.60\"");
	modes.decimal = DECIMAL_DOUBLE;
	is_written(&type, modes, "12345.60", IN_JSON, "12345.6");
	is_written(&type, modes, "12345.60", SCHEMA, "{\"type\":\"double\",\"optional\":true}");
}

/* Java's words for what is no number; where it has none the event is rejected. */
static void test_decimals_that_are_no_numbers(void **state)
{
	static const char *const words[][3] = {
	    {"NaN", "NAN", "NaN"},
	    {"Infinity", "POSITIVE_INFINITY", "Infinity"},
	    {"-Infinity", "NEGATIVE_INFINITY", "-Infinity"},
	};
	const struct column_modes strings = {.decimal = DECIMAL_STRING};
	const struct column_modes doubles = {.decimal = DECIMAL_DOUBLE};

	(void)state;
	for (int scale = -1; scale <= 2; scale += 3) {
		const struct field_type type = {
		    .kind = FIELD_DECIMAL, .precision = scale < 0 ? -1 : 12, .scale = scale};

		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
			char *quoted = xasprintf("\"%s\"", words[i][2]);

			is_written(&type, strings, words[i][0], SIMPLE, words[i][1]);
			is_written(&type, strings, words[i][0], AS_STRING, words[i][1]);
			is_written(&type, doubles, words[i][0], IN_JSON, quoted);
			is_written(&type, plain, words[i][0], IN_JSON, NULL);
			is_written(&type, plain, words[i][0], AS_STRING, NULL);
			free(quoted);
		}
	}
}

static void test_connect_times(void **state)
{
	const struct column_modes modes = {.time = TIME_CONNECT, .interval = INTERVAL_STRING};
	struct field_type timestamp = type_of(FIELD_TIMESTAMP, -1), date = type_of(FIELD_DATE, -1),
			  time = type_of(FIELD_TIME, -1), interval = type_of(FIELD_INTERVAL, -1);

	(void)state;
	is_written(&timestamp, modes, "2024-02-29 12:34:56.789012", IN_JSON, "1709210096789");
	is_written(&timestamp, modes, "2024-02-29 12:34:56.789012", SIMPLE,
		   "2024-02-29T12:34:56.789Z");
	is_written(&timestamp, modes, "2024-02-29 00:00:00", SIMPLE, "2024-02-29");
	is_written(&timestamp, modes, "1969-12-31 23:59:59.999999", SIMPLE, "23:59:59.999Z");
	is_written(&timestamp, modes, "2024-02-29 12:34:56", AS_STRING,
		   "Thu Feb 29 12:34:56 UTC 2024");
	is_written(&date, modes, "2024-12-31", SIMPLE, "2024-12-31");
	is_written(&date, modes, "1970-01-01", SIMPLE, "00:00:00.000Z");
	is_written(&date, modes, "2024-12-31", SCHEMA,
		   "{\"type\":\"int32\",\"optional\":true,\"name\":\"org.apache.kafka.connect.data."
		   "Date\",\"version\":1}");
	is_written(&time, modes, "23:59:59.999999", IN_JSON, "86399999");
	is_written(&time, modes, "23:59:59.999999", SIMPLE, "23:59:59.999Z");
	is_written(&interval, modes, "1 year 2 mons 3 days 04:05:06.789", IN_JSON,
		   "\"P1Y2M3DT4H5M6.789S\"");
	is_written(&interval, modes, "-1 days", IN_JSON, "\"P0Y0M-1DT0H0M0S\"");
	is_written(&interval, modes, "-00:00:00.5", IN_JSON, "\"P0Y0M0DT0H0M-0.5S\"");
}

static void test_binary_modes(void **state)
{
	struct field_type type = type_of(FIELD_BYTES, -1);
	struct column_modes modes = {.binary = BINARY_HEX};

	(void)state;
	is_written(&type, modes, "\\x00ff10", IN_JSON, "\"00ff10\"");
	modes.binary = BINARY_BASE64;
	is_written(&type, modes, "\\xfbff", AS_STRING, "+/8=");
	modes.binary = BINARY_BASE64_URL;
	is_written(&type, modes, "\\xfbff", AS_STRING, "-_8=");
	is_written(&type, modes, "\\xfbff", SCHEMA, "{\"type\":\"string\",\"optional\":true}");
}

static void test_arrays(void **state)
{
	struct field_type texts = {.kind = FIELD_ARRAY, .element = FIELD_TEXT, .precision = -1};
	struct field_type numbers = {.kind = FIELD_ARRAY, .element = FIELD_INT32, .precision = -1};

	(void)state;
	is_written(&texts, plain, "{a,\"b \\\"q\\\"\",NULL,\"NULL\",\"\"}", IN_JSON,
		   "[\"a\",\"b \\\"q\\\"\",null,\"NULL\",\"\"]");
	is_written(&texts, plain, "{a,\"b \\\"q\\\"\",NULL}", SIMPLE,
		   "[\"a\",\"b \\\"q\\\"\",null]");
	is_written(&texts, plain, "{a,\"b \\\"q\\\"\",NULL}", AS_STRING, "[a, b \"q\", null]");
	is_written(&numbers, plain, "[2:4]={1,NULL,3}", IN_JSON, "[1,null,3]");
	is_written(&numbers, plain, "{}", IN_JSON, "[]");
	is_written(&numbers, plain, "{{1,2},{3,4}}", IN_JSON, NULL);
	is_written(&numbers, plain, "{}", SCHEMA,
		   "{\"type\":\"array\",\"items\":{\"type\":\"int32\",\"optional\":true},"
		   "\"optional\":true}");
}

static void test_named_schemas(void **state)
{
	static const struct {
		enum field_kind kind;
		const char *schema;
	} cases[] = {
	    {FIELD_UUID,
	     "{\"type\":\"string\",\"optional\":false,\"name\":\"io.debezium.data.Uuid\","
	     "\"version\":1}"},
	    {FIELD_ENUM,
	     "{\"type\":\"string\",\"optional\":false,\"name\":\"io.debezium.data.Enum\","
	     "\"version\":1,\"parameters\":{\"allowed\":\"a,b\"}}"},
	    {FIELD_TIMESTAMP, "{\"type\":\"int64\",\"optional\":false,\"name\":\"io.debezium.time."
			      "MicroTimestamp\",\"version\":1}"},
	    {FIELD_DECIMAL,
	     "{\"type\":\"struct\",\"fields\":[{\"type\":\"int32\",\"optional\":false,\"field\":"
	     "\"scale\"},{\"type\":\"bytes\",\"optional\":false,\"field\":\"value\"}],\"optional\":"
	     "false,\"name\":\"io.debezium.data.VariableScaleDecimal\",\"version\":1,\"doc\":"
	     "\"Variable scaled decimal\"}"},
	};
	struct arena arena = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct field_type type = {
		    .kind = cases[i].kind, .precision = -1, .required = true, .labels = "a,b"};

		is_written(&type, plain,
			   cases[i].kind == FIELD_TIMESTAMP ? "1970-01-01 00:00:00" : "1", SCHEMA,
			   cases[i].schema);
	}
	const struct field_type none = {.kind = FIELD_UNKNOWN},
				nones = {.kind = FIELD_ARRAY, .element = FIELD_UNKNOWN};
	assert_null(column_schema(&arena, &none, &plain));
	assert_null(column_schema(&arena, &nones, &plain));
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_scalars),
	    cmocka_unit_test(test_decimals_with_a_scale),
	    cmocka_unit_test(test_decimals_that_are_no_numbers),
	    cmocka_unit_test(test_connect_times),
	    cmocka_unit_test(test_binary_modes),
	    cmocka_unit_test(test_arrays),
	    cmocka_unit_test(test_named_schemas),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
