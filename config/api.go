package config

// api reads how the agents' HTTP servers are reached, and who may change something.
func (v value) api(a *API) {
	v.mapping([]field{
		{name: "token_file", read: secretPath(&a.TokenFile)},
		{name: "tls", read: func(v value) {
			v.mapping([]field{
				{name: "cert_file", need: "name the agent's certificate, such as /etc/healer/tls/agent.pem", read: path(&a.TLS.CertFile)},
				{name: "key_file", need: "name the key of the agent's certificate, such as /etc/healer/tls/agent.key", read: secretPath(&a.TLS.KeyFile)},
				{name: "ca_file", read: path(&a.TLS.CAFile)},
				{name: "client_ca_file", read: path(&a.TLS.ClientCAFile)},
				{name: "client_cert_file", read: path(&a.TLS.ClientCertFile)},
				{name: "client_key_file", read: secretPath(&a.TLS.ClientKeyFile)},
			})
			v.r.together(v.path, "client_cert_file", "client_key_file")
		}},
	})
}

// together wants both of two fields below a path, or none.
func (r *reader) together(path, one, other string) {
	_, first := r.at[path+"."+one]
	_, second := r.at[path+"."+other]
	if first == second {
		return
	}
	if second {
		one, other = other, one
	}
	r.problem(path+"."+one, "stands without "+other, "add "+other+", or remove it")
}
