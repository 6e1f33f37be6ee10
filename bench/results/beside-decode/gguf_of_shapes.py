"""gguf_of_shapes.py GGUF_PY OUT: d128.gguf and d256.gguf, random float32 weights without a vocabulary, for llama-batched-bench. GGUF_PY is llama.cpp's gguf-py."""
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, gguf
r=np.random.default_rng(1)
for name,(c,l,h,f,v) in {"d128":(128,4,4,384,512),"d256":(256,6,8,768,512)}.items():
    w=gguf.GGUFWriter(f"{sys.argv[2]}/{name}.gguf","llama")
    w.add_block_count(l); w.add_context_length(2048); w.add_embedding_length(c); w.add_feed_forward_length(f)
    w.add_head_count(h); w.add_head_count_kv(h); w.add_layer_norm_rms_eps(1e-6); w.add_rope_freq_base(10000.0); w.add_vocab_size(v)
    w.add_rope_dimension_count(c//h); w.add_tokenizer_model("no_vocab"); w.add_file_type(0)
    t=lambda *s: (r.standard_normal(s)*0.02).astype(np.float32)
    one=np.ones(c,np.float32)
    w.add_tensor("token_embd.weight",t(v,c)); w.add_tensor("output_norm.weight",one)
    for i in range(l):
        b=f"blk.{i}."
        w.add_tensor(b+"attn_norm.weight",one); w.add_tensor(b+"ffn_norm.weight",one)
        for n,s in (("attn_q",(c,c)),("attn_k",(c,c)),("attn_v",(c,c)),("attn_output",(c,c)),("ffn_gate",(f,c)),("ffn_up",(f,c)),("ffn_down",(c,f))):
            w.add_tensor(b+n+".weight",t(*s))
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
