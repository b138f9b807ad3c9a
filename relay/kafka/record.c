/* SPDX-License-Identifier: ISC */
/*
 * record.c - what a record says, and where its key belongs
 */
#include "internal.h"
#include "kafka/reader.h"

bool kafka_record_header(const struct kafka_record *record, const char *name, struct slice *value)
{
	rd_kafka_headers_t *headers;
	const void *data;
	size_t size;

	if (rd_kafka_message_headers(record->message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
	    rd_kafka_header_get(headers, 0, name, &data, &size) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return false;
	*value = (struct slice){data, size};
	return true;
}

bool kafka_record_header_at(const struct kafka_record *record, size_t number, const char **name,
			    struct slice *value)
{
	rd_kafka_headers_t *headers;
	const void *data;
	size_t size;

	if (rd_kafka_message_headers(record->message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
	    rd_kafka_header_get_all(headers, number, name, &data, &size) !=
		RD_KAFKA_RESP_ERR_NO_ERROR)
		return false;
	*value = (struct slice){data, size};
	return true;
}

int32_t kafka_partition_of(struct slice key, int32_t partitions)
{
	return rd_kafka_msg_partitioner_murmur2(NULL, key.data, key.len, partitions, NULL, NULL);
}
