            for (var q = 0u; q < 4u; q++) {
//#for i TM
                let a$i$ = bitcast<vec4<f32>>(tiles[(ty + $16*i$u) * 5u + q]);
//#end
//#for j TN
                let b$j$ = bitcast<vec4<f32>>(tiles[$B_OFFSET$u + (tx + $16*j$u) * 5u + q]);
//#end
//#for i TM
//#for j TN
                c$i$_$j$ = fma(a$i$.w, b$j$.w, fma(a$i$.z, b$j$.z, fma(a$i$.y, b$j$.y, fma(a$i$.x, b$j$.x, c$i$_$j$))));
//#end
//#end
            }
