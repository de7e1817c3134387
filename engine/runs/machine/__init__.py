"""How busy the machine is while a run trains: looked at now and then, and kept with the run."""
