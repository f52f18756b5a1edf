package relay

// Pump moves bytes from one connection to another until the end.
var Pump = pump
