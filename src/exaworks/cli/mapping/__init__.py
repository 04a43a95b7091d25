"""Running a command for each of many arguments: what ``exaworks map`` is made of."""
