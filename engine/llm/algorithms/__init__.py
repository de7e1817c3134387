"""One file per algorithm for language models; `engine.llm.shelf` names them."""
