"""The inner workings of capture and generation: batches, caches, shared prompts, keyed sampling."""
