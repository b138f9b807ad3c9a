/* SPDX-License-Identifier: ISC */
/*
 * fuzz_token.c - what a command for tokens may print, from any bytes
 */
#include "kafka/internal.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz_token: %s\n", what);
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int64_t now_ms = INT64_C(1000000000000);
	char *text = strndup(size > 0 ? (const char *)data : "", size);
	struct kafka_token token;
	struct error err;

	if (kafka_token_parse(text, now_ms, &token, &err)) {
		must(token.value[0] != '\0' || text[0] == '\0', "a token is empty");
		must(token.value[strcspn(token.value, " \t\r\n")] == '\0', "a token has a blank");
		must(token.expires_ms > now_ms, "a token has expired");
		must(token.expires_ms < INT64_MAX / 1000, "a token lives too long");
		must(token.principal != NULL && token.extension_count % 2 == 0, "it is whole");
		kafka_token_clear(&token);
	}
	must(token.value == NULL && token.principal == NULL && token.extension_count == 0,
	     "something is left");
	free(text);
	return 0;
}
