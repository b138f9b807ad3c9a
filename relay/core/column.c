/* SPDX-License-Identifier: ISC */
/*
 * column.c - a field as data of Kafka Connect, as Debezium's connector for PostgreSQL gives it
 *
 * io.debezium.connector.postgresql.PostgresValueConverter and JdbcValueConverters of 3.0.
 */
#include "column.h"

#include "civil.h"
#include "config.h"
#include "java.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reading {
	struct arena *arena;
	const struct field_type *type;
	const struct column_modes *modes;
	struct slice text;
	struct connect_value *value;
	struct error *err;
};

static bool fail(const struct reading *r, const char *what)
{
	return error_set(r->err, "%s; change the value, or write the column in another way", what);
}

static struct slice keep(struct arena *arena, const char *text, size_t len)
{
	return (struct slice){arena_copy(arena, text, len), len};
}

static bool read_integer(const struct reading *r)
{
	return civil_integer(r->text, &r->value->integer) ||
	       fail(r, "a column has no whole number");
}

static bool read_real(const struct reading *r)
{
	const char *text = arena_copy(r->arena, r->text.data, r->text.len);
	char *end;

	r->value->real =
	    r->type->kind == FIELD_FLOAT32 ? (double)strtof(text, &end) : strtod(text, &end);
	return (end > text && *end == '\0') || fail(r, "a column has no number");
}

/* VariableScaleDecimal: without zeros at the end of what is behind the point. */
static bool read_variable(const struct reading *r)
{
	struct slice text = r->text;
	struct buffer bytes = {0};
	struct connect_value *items = arena_take(r->arena, 2 * sizeof(*items));
	int scale = 0;

	if (memchr(text.data, '.', text.len) != NULL)
		while (text.len > 0 &&
		       (text.data[text.len - 1] == '0' || text.data[text.len - 1] == '.'))
			if (text.data[--text.len] == '.')
				break;
	if (!java_unscaled(&bytes, text, &scale))
		return fail(r, "a numeric column is not a finite number");
	items[0].integer = scale;
	items[1].text = keep(r->arena, bytes.data, bytes.len);
	buffer_free(&bytes);
	r->value->items = items;
	r->value->count = 2;
	return true;
}

/* SpecialValueDecimal.toString. */
static struct slice plain_decimal(struct slice text)
{
	if (slice_equal(text, slice_of("NaN")))
		return slice_of("NAN");
	if (slice_equal(text, slice_of("Infinity")))
		return slice_of("POSITIVE_INFINITY");
	if (slice_equal(text, slice_of("-Infinity")))
		return slice_of("NEGATIVE_INFINITY");
	return text;
}

static bool read_decimal(const struct reading *r)
{
	struct buffer bytes = {0};
	int scale;

	r->value->text = r->text;
	if (r->modes->decimal == DECIMAL_STRING) {
		r->value->text = plain_decimal(r->text);
		return true;
	}
	if (r->modes->decimal == DECIMAL_DOUBLE)
		return read_real(r);
	if (!column_has_scale(r->type) && !r->modes->printed)
		return read_variable(r);
	bool finite = java_unscaled(&bytes, r->text, &scale);
	buffer_free(&bytes);
	return finite || fail(r, "a numeric column is not a finite number");
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decode_hex(const struct reading *r, struct slice *bytes)
{
	size_t len = r->text.len / 2 - 1;
	char *out;

	if (r->text.len < 2 || memcmp(r->text.data, "\\x", 2) != 0)
		return false;
	out = arena_take(r->arena, len + 1);
	for (size_t i = 0; i < len; i++) {
		int high = nibble(r->text.data[2 + 2 * i]), low = nibble(r->text.data[3 + 2 * i]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (char)(high << 4 | low);
	}
	*bytes = (struct slice){out, len};
	return true;
}

void column_bytes(struct arena *arena, const struct column_modes *modes, struct slice bytes,
		  struct connect_value *value)
{
	static const char digits[] = "0123456789abcdef";
	struct buffer out = {0};

	value->text = bytes;
	if (modes->binary == BINARY_BYTES)
		return;
	for (size_t i = 0; modes->binary == BINARY_HEX && i < bytes.len; i++) {
		buffer_byte(&out, digits[(unsigned char)bytes.data[i] >> 4]);
		buffer_byte(&out, digits[(unsigned char)bytes.data[i] & 15]);
	}
	if (modes->binary != BINARY_HEX)
		buffer_base64(&out, bytes,
			      modes->binary == BINARY_BASE64_URL ? BASE64_URL : BASE64);
	value->text = keep(arena, out.data, out.len);
	buffer_free(&out);
}

static bool read_bytes(const struct reading *r)
{
	struct slice bytes;

	if (!decode_hex(r, &bytes))
		return fail(r, "a bytea column is not in hexadecimal digits");
	column_bytes(r->arena, r->modes, bytes, r->value);
	return true;
}

/* Blanks at the end are part of it, though not of its text. */
static void read_char(const struct reading *r)
{
	struct slice text = r->text;
	size_t characters = 0, more;
	char *padded;

	for (size_t i = 0; i < text.len; i++)
		characters += ((unsigned char)text.data[i] & 0xC0) != 0x80;
	more = r->type->precision > (int)characters ? (size_t)r->type->precision - characters : 0;
	padded = arena_take(r->arena, text.len + more + 1);
	if (text.len > 0)
		memcpy(padded, text.data, text.len);
	memset(padded + text.len, ' ', more);
	r->value->text = (struct slice){padded, text.len + more};
}

/* Clients are told the length only where it is less than all. */
static void read_address(const struct reading *r)
{
	struct slice text = r->text;
	const char *all = memchr(text.data, ':', text.len) != NULL ? "/128" : "/32";
	size_t len = strlen(all);

	if (text.len > len && memcmp(text.data + text.len - len, all, len) == 0)
		text.len -= len;
	r->value->text = text;
}

/* ---- times ---- */

static int64_t floor_div(int64_t number, int64_t by)
{
	return number / by - (number % by < 0);
}

static bool in_milliseconds(const struct reading *r)
{
	bool adaptive = r->modes->time == TIME_ADAPTIVE || r->type->kind == FIELD_TIMESTAMP;

	return r->modes->time == TIME_CONNECT || (adaptive && column_is_coarse(r->type));
}

/* Whether it is one of the two infinities, which are numbers to Java: those of PGStatement of the
 * JDBC driver, and for dates those of PostgresValueConverter. */
static bool read_infinity(struct slice text, int64_t positive, int64_t negative, int64_t *number)
{
	bool is_positive = slice_equal(text, slice_of("infinity"));

	*number = is_positive ? positive : negative;
	return is_positive || slice_equal(text, slice_of("-infinity"));
}

static bool read_time(const struct reading *r)
{
	int64_t us;
	bool good = r->type->kind == FIELD_TIME
			? civil_time(r->text, &us)
			: read_infinity(r->text, INT64_C(9223372036825200000),
					INT64_C(-9223372036832400000), &us) ||
			      civil_timestamp(r->text, &us);

	if (!good)
		return fail(r, "a column has no point in time");
	r->value->integer = in_milliseconds(r) ? floor_div(us, 1000) : us;
	return true;
}

/* -5877611-06-21 and the day after it. */
static bool read_date(const struct reading *r)
{
	return read_infinity(r->text, -2147472692, -2147472691, &r->value->integer) ||
	       civil_date(r->text, &r->value->integer) || fail(r, "a column has no date");
}

/* What is behind the point, of so many digits; fewest: without zeros at the end. */
static void put_fraction(struct buffer *out, int64_t us, int digits, bool fewest)
{
	char text[16];
	int len = snprintf(text, sizeof(text), ".%06lld", (long long)us) - 6 + digits;

	while (fewest && len > 1 && text[len - 1] == '0')
		len--;
	if (len > 1)
		buffer_put(out, text, (size_t)len);
}

static void put_clock(struct buffer *out, int64_t us_of_day)
{
	int64_t seconds = us_of_day / 1000000;
	char text[64];

	snprintf(text, sizeof(text), "%02d:%02d:%02d", (int)(seconds / 3600),
		 (int)(seconds / 60 % 60), (int)(seconds % 60));
	buffer_text(out, text);
}

/* ISO_LOCAL_DATE: years have four digits, and beyond that a sign. */
static void put_day(struct buffer *out, int64_t days)
{
	struct civil_day day = civil_day(days);
	char text[48];

	snprintf(text, sizeof(text), "%s%04lld-%02d-%02d",
		 day.year < 0	   ? "-"
		 : day.year > 9999 ? "+"
				   : "",
		 llabs((long long)day.year), day.month, day.day);
	buffer_text(out, text);
}

static void keep_buffer(const struct reading *r, struct buffer *out)
{
	r->value->text = keep(r->arena, out->data, out->len);
	buffer_free(out);
}

static bool read_timestamp_utc(const struct reading *r)
{
	static const int64_t day_us = 86400 * INT64_C(1000000);
	bool precise = r->type->precision != 0;
	int digits = r->type->precision > 0 ? r->type->precision : 6;
	struct buffer out = {0};
	int64_t us, days;

	if (slice_equal(r->text, slice_of("infinity")) ||
	    slice_equal(r->text, slice_of("-infinity"))) {
		r->value->text = r->text;
		return true;
	}
	if (!civil_timestamp(r->text, &us))
		return fail(r, "a column has no point in time");
	days = floor_div(us, day_us);
	put_day(&out, days);
	buffer_byte(&out, 'T');
	put_clock(&out, us - days * day_us);
	put_fraction(&out, floor_div(us, 1) - floor_div(us, 1000000) * 1000000, digits, !precise);
	buffer_byte(&out, 'Z');
	keep_buffer(r, &out);
	return true;
}

static bool read_time_zoned(const struct reading *r)
{
	struct buffer out = {0};
	int64_t us;

	if (!civil_time(r->text, &us))
		return fail(r, "a column has no time of the day");
	put_clock(&out, us);
	put_fraction(&out, us % 1000000, 6, true);
	buffer_byte(&out, 'Z');
	keep_buffer(r, &out);
	return true;
}

/* Interval.toIsoString. */
static void put_interval(struct buffer *out, const struct civil_interval *i)
{
	char text[128];

	snprintf(text, sizeof(text), "P%dY%dM%dDT%dH%dM%s%lld", i->years, i->months, i->days,
		 i->hours, i->minutes, i->us < 0 ? "-" : "", llabs((long long)i->us) / 1000000);
	buffer_text(out, text);
	put_fraction(out, llabs((long long)i->us) % 1000000, 6, true);
	buffer_byte(out, 'S');
}

/* MicroDuration.durationMicros, with its rounding. */
static int64_t duration_us(const struct civil_interval *i)
{
	double days = (i->years * 12 + i->months) * (365.25 / 12.0) + i->days;
	double seconds = (((days * 24 + i->hours) * 60) + i->minutes) * 60 + (double)i->us / 1e6;

	return (int64_t)(seconds * 1e6);
}

static bool read_interval(const struct reading *r)
{
	struct civil_interval interval;
	struct buffer out = {0};

	if (!civil_interval(r->text, &interval))
		return fail(r, "a column has no interval, such as infinity");
	if (r->modes->interval == INTERVAL_NUMERIC) {
		r->value->integer = duration_us(&interval);
		return true;
	}
	put_interval(&out, &interval);
	keep_buffer(r, &out);
	return true;
}

/* ---- arrays ---- */

/* The next item behind *at, up to its comma or brace. */
static struct slice next_item(struct arena *arena, const char **at, const char *end, bool *null)
{
	char *out = arena_take(arena, (size_t)(end - *at) + 1);
	bool quoted = **at == '"', open = quoted;
	size_t len = 0;

	*at += quoted;
	while (*at < end && (open || (**at != ',' && **at != '}'))) {
		if (open && **at == '"') {
			open = false;
			++*at;
			continue;
		}
		*at += **at == '\\' && *at + 1 < end;
		out[len++] = *(*at)++;
	}
	*null = !quoted && len == 4 && memcmp(out, "NULL", 4) == 0;
	return (struct slice){out, len};
}

static size_t count_items(struct slice text)
{
	size_t count = 1;

	for (size_t i = 0; i < text.len; i++)
		count += text.data[i] == ',';
	return count;
}

static bool read_items(const struct reading *r, const char *at, const char *end)
{
	const struct field_type element = column_element(r->type);

	while (at < end && *at != '}') {
		struct connect_value *item = &r->value->items[r->value->count++];
		bool null;
		struct slice text;

		if (*at == '{')
			return fail(r, "an array has more than one dimension");
		text = next_item(r->arena, &at, end, &null);
		if (!column_value(r->arena, &element, r->modes, null ? SLICE_NULL : text, item,
				  r->err))
			return false;
		at += at < end && *at == ',';
	}
	return true;
}

/* {a,"b c",NULL}, or [2:3]={...} where it does not begin at one. */
static bool read_array(const struct reading *r)
{
	const char *end = r->text.data + r->text.len;
	const char *open = r->text.len > 0 ? memchr(r->text.data, '{', r->text.len) : NULL;

	if (open == NULL)
		return fail(r, "a column has no array");
	r->value->items = arena_take(r->arena, count_items(r->text) * sizeof(struct connect_value));
	return read_items(r, open + 1, end);
}

static bool read_value(const struct reading *r)
{
	switch (r->type->kind) {
	case FIELD_BOOL:
		r->value->integer = r->text.len > 0 && r->text.data[0] == 't';
		return true;
	case FIELD_INT16:
	case FIELD_INT32:
	case FIELD_INT64:
		return read_integer(r);
	case FIELD_FLOAT32:
	case FIELD_FLOAT64:
		return read_real(r);
	case FIELD_DECIMAL:
		return read_decimal(r);
	case FIELD_BYTES:
		return read_bytes(r);
	case FIELD_DATE:
		return read_date(r);
	case FIELD_TIME:
	case FIELD_TIMESTAMP:
		return read_time(r);
	case FIELD_TIME_ZONED:
		return read_time_zoned(r);
	case FIELD_TIMESTAMP_UTC:
		return read_timestamp_utc(r);
	case FIELD_INTERVAL:
		return read_interval(r);
	case FIELD_ARRAY:
		return read_array(r);
	case FIELD_CHAR:
		read_char(r);
		return true;
	case FIELD_ADDRESS:
		read_address(r);
		return true;
	default:
		r->value->text = r->text;
		return true;
	}
}

bool column_value(struct arena *arena, const struct field_type *type,
		  const struct column_modes *modes, struct slice text, struct connect_value *value,
		  struct error *err)
{
	const struct reading reading = {arena, type, modes, text, value, err};

	*value = (struct connect_value){.null = text.data == NULL};
	return value->null || read_value(&reading);
}
