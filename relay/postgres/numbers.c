/* SPDX-License-Identifier: ISC */
/*
 * numbers.c - parameters and columns in binary: numbers in network order
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <string.h>

struct pg_int8 pg_put_int8(int64_t value)
{
	struct pg_int8 out;
	uint32_t high = htonl((uint32_t)((uint64_t)value >> 32)), low = htonl((uint32_t)value);
	memcpy(out.bytes, &high, 4);
	memcpy(out.bytes + 4, &low, 4);
	return out;
}

int32_t pg_get_int4(const char *bytes)
{
	uint32_t raw;
	memcpy(&raw, bytes, 4);
	return (int32_t)ntohl(raw);
}

int64_t pg_get_int8(const char *bytes)
{
	return (int64_t)((uint64_t)(uint32_t)pg_get_int4(bytes) << 32 |
			 (uint32_t)pg_get_int4(bytes + 4));
}

int16_t pg_get_int2(const char *bytes)
{
	uint16_t raw;
	memcpy(&raw, bytes, 2);
	return (int16_t)ntohs(raw);
}

struct pg_param pg_param_int8(const struct pg_int8 *value)
{
	return (struct pg_param){value->bytes, 8, true};
}

struct pg_param pg_param_text(const char *value)
{
	return (struct pg_param){value, 0, false};
}
