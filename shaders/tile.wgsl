// Sixteen steps of both factors, four to a vector, rows five vectors apart: then no two threads that
// read at once meet in a bank. After the products it serves the reductions.
var<workgroup> tiles: array<vec4<u32>, $SHARED$>;
