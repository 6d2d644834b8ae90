"""Every choice of an experiment: YAML groups, the typed schema, and the plan of members that they ask for."""
