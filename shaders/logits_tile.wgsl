//#for i TM
//#for j TN
        var c$i$_$j$ = 0.0;
//#end
//#end
//#for l B_LOADS
        let b_row$l$ = min(column + lane + $64*l$u, P.columns - 1u);
//#end
        for (var k = 0u; k < quads; k += 4u) {
//#for l A_LOADS
            let a_in$l$ = hidden_quad(a_row$l$, k + quad);
//#end
//#for l B_LOADS
            let b_in$l$ = classifier_quad(b_row$l$, k + quad);
//#end
            workgroupBarrier();
//#for l A_LOADS
            tiles[(lane + $64*l$u) * 5u + quad] = bitcast<vec4<u32>>(a_in$l$);
//#end
//#for l B_LOADS
            tiles[$B_OFFSET$u + (lane + $64*l$u) * 5u + quad] = bitcast<vec4<u32>>(b_in$l$);
//#end
            workgroupBarrier();
//#include multiply
        }
