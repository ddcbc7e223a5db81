"""probesteer: find a behaviour as a direction inside language models, test it, steer with it, report it."""
