package server

import (
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

// configXML is what both kinds of server get. The session that opens the embedded one's port logs in
// as default without a password, so default may do nothing but that; whosehop has a user of its own.
var configXML = template.Must(template.New("config").Parse(`<clickhouse>
  <logger><level>warning</level><console>true</console></logger>
  <path>{{html .Data}}/</path>
  <tmp_path>{{html .Data}}/tmp/</tmp_path>
  <listen_host>127.0.0.1</listen_host>
  <tcp_port>{{.Port}}</tcp_port>
  <max_server_memory_usage>{{.MemoryBytesMax}}</max_server_memory_usage>
  <mark_cache_size>134217728</mark_cache_size>
  <index_mark_cache_size>33554432</index_mark_cache_size>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <max_concurrent_queries>100</max_concurrent_queries>
  <background_pool_size>4</background_pool_size>
  <background_schedule_pool_size>4</background_schedule_pool_size>
  <merge_tree>
    <number_of_free_entries_in_pool_to_execute_mutation>2</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>2</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>2</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
  </merge_tree>
  <users_config>{{html .Users}}</users_config>
  <default_profile>default</default_profile>
</clickhouse>
`))

var usersXML = template.Must(template.New("users").Parse(`<clickhouse>
  <profiles><default><log_queries>0</log_queries></default></profiles>
  <quotas><default></default></quotas>
  <users>
    <default>
      <password></password>
      <networks><ip>127.0.0.1</ip><ip>::1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT SYSTEM LISTEN ON *.*</query>
      </grants>
    </default>
    <whosehop>
      <password>{{.Password}}</password>
      <networks><ip>127.0.0.1</ip><ip>::1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </whosehop>
  </users>
</clickhouse>
`))

type configValues struct {
	Data, Users, Password string
	Port                  int
	MemoryBytesMax        uint64
}

// writeConfig writes the server's configuration into dir, readable by this user alone, and returns
// the path of its main file.
func writeConfig(dir string, v configValues) (string, error) {
	v.Users = filepath.Join(dir, "users.xml")
	path := filepath.Join(dir, "config.xml")
	for _, f := range []struct {
		path string
		t    *template.Template
	}{{v.Users, usersXML}, {path, configXML}} {
		out, err := os.OpenFile(f.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return "", fmt.Errorf("write the ClickHouse configuration: %w", err)
		}
		if err := f.t.Execute(out, v); err != nil {
			_ = out.Close()
			return "", fmt.Errorf("write the ClickHouse configuration: %w", err)
		}
		if err := out.Close(); err != nil {
			return "", fmt.Errorf("write the ClickHouse configuration: %w", err)
		}
	}
	return path, nil
}
