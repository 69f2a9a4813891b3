"""Running the house: settings, composition, command line, local servers, benchmarks and faults."""
