module github.com/whosehop/whosehop/benchmarks

go 1.26.0

require github.com/whosehop/whosehop v0.0.0

replace github.com/whosehop/whosehop => ../
