/*
 * config.c - the life of a configuration: loaded, shown, reloaded, freed
 */
#include "config.h"

#include "config_table.h"
#include "xalloc.h"

#include <stdlib.h>

struct config *config_load(const char *path, struct config_problems *problems)
{
	struct config *config = xcalloc(1, sizeof(*config));

	if (!config_read_into(config, path, problems))
		config_free(&config);
	return config;
}

void config_free(struct config **config)
{
	if (*config == NULL)
		return;
	for (size_t i = 0; i < option_count; i++)
		option_clear(&options[i], *config);
	free(*config);
	*config = NULL;
}

void config_problems_free(struct config_problems *problems)
{
	for (size_t i = 0; i < problems->count; i++)
		free(problems->items[i].text);
	free(problems->items);
	*problems = (struct config_problems){NULL, 0};
}

void config_reload(struct config *live, struct config *fresh,
		   void (*changed)(const char *path, bool applied, void *arg), void *arg)
{
	for (size_t i = 0; i < option_count; i++) {
		if (option_equal(&options[i], live, fresh))
			continue;
		if (options[i].reloadable)
			option_swap(&options[i], live, fresh);
		changed(options[i].path, options[i].reloadable, arg);
	}
}

void config_each(const struct config *config,
		 void (*each)(const char *path, const char *value, const char *default_value,
			      bool reloadable, const char *help, void *arg),
		 void *arg)
{
	struct config *defaults = xcalloc(1, sizeof(*defaults));

	for (size_t i = 0; i < option_count; i++) {
		const struct option *option = &options[i];
		char *value = config != NULL ? option_print(option, config) : NULL;
		char *fallback = NULL;

		option_set_default(option, defaults);
		if (option->fallback != NULL)
			fallback = option_print(option, defaults);
		each(option->path, value, fallback, option->reloadable, option->help, arg);
		free(value);
		free(fallback);
	}
	config_free(&defaults);
}
