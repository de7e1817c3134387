"""One textbook file an algorithm; `engine.presets.algorithm_map.registry` names them."""
