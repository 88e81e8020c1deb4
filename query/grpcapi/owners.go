package grpcapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	whosehopv1 "github.com/whosehop/whosehop/proto/whosehop/v1"
	"github.com/whosehop/whosehop/query"
)

// listedMost bounds the lists of what an apply does.
const listedMost = 1000

// PutOwners implements whosehopv1.WhosehopServer.
func (a *api) PutOwners(stream grpc.ClientStreamingServer[whosehopv1.PutOwnersRequest, whosehopv1.PutOwnersResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return a.status(fmt.Errorf("%w: no message came: %w", query.ErrInvalid, err))
	}
	applied, err := a.service.ApplyOwners(stream.Context(), first.GetDryRun(), func() (ownership.Wanted, error) { return receive(first, stream) })
	if err != nil {
		return a.status(err)
	}
	response := &whosehopv1.PutOwnersResponse{
		Set: applied.Set, Records: int64(len(applied.Records)), Added: int64(applied.Added), Ended: int64(applied.Ended),
		Changed: int64(applied.Changed), Unchanged: int64(applied.Unchanged), Handovers: handovers(applied.Handovers[:min(len(applied.Handovers), listedMost)]),
	}
	for _, c := range applied.Changes[:min(len(applied.Changes), listedMost)] {
		response.Changes = append(response.Changes, &whosehopv1.OwnersChange{What: c.What, About: c.About, Before: c.Before, After: c.After, Source: c.Source.String()})
	}
	return stream.SendAndClose(response)
}

// receive reads all messages, the first of which has been read.
func receive(r *whosehopv1.PutOwnersRequest, stream grpc.ClientStreamingServer[whosehopv1.PutOwnersRequest, whosehopv1.PutOwnersResponse]) (w ownership.Wanted, err error) {
	w = ownership.Wanted{Set: r.GetSet(), Records: []catalog.Record{}}
	bytes := 0
	tooMuch := func(text string) error {
		if bytes += len(text) + 16; bytes > query.OwnersBytesMax || len(w.Records) == ownership.RecordsMost {
			return fmt.Errorf("%w: more than %d bytes or %d records; apply them as several sets", query.ErrInvalid, query.OwnersBytesMax, ownership.RecordsMost)
		}
		return nil
	}
	for ; err == nil; r, err = stream.Recv() {
		for _, text := range r.GetRecordJson() {
			if err := tooMuch(text); err != nil {
				return w, err
			}
			var c catalog.Record
			if err := json.Unmarshal([]byte(text), &c); err != nil {
				return w, fmt.Errorf("%w: read record %d: %w", query.ErrInvalid, len(w.Records)+1, err)
			}
			w.Records = append(w.Records, c)
		}
		for _, file := range r.GetKeep() {
			if err := tooMuch(file); err != nil {
				return w, err
			}
			w.Keep = append(w.Keep, file)
		}
	}
	if !errors.Is(err, io.EOF) {
		return w, err
	}
	return w, nil
}

// ListOwners implements whosehopv1.WhosehopServer.
func (a *api) ListOwners(_ context.Context, r *whosehopv1.ListOwnersRequest) (*whosehopv1.ListOwnersResponse, error) {
	page, err := a.service.ListOwners(query.OwnersRequest{
		Set: r.GetSet(), Kind: r.GetKind(), Owner: r.GetOwner(), Name: r.GetName(), Ended: r.GetEnded(),
		PageSize: int(r.GetPageSize()), PageToken: r.GetPageToken(),
	})
	if err != nil {
		return nil, a.status(err)
	}
	response := &whosehopv1.ListOwnersResponse{NextPageToken: page.NextPageToken}
	for i := range page.Records {
		text, err := json.Marshal(&page.Records[i])
		if err != nil {
			return nil, a.status(err)
		}
		response.RecordJson = append(response.RecordJson, string(text))
	}
	return response, nil
}

// ListHandovers implements whosehopv1.WhosehopServer.
func (a *api) ListHandovers(_ context.Context, r *whosehopv1.ListHandoversRequest) (*whosehopv1.ListHandoversResponse, error) {
	got, err := a.service.ListHandovers(query.HandoversRequest{From: instant(r.GetFrom()), To: instant(r.GetTo()), Limit: int(r.GetLimit())})
	if err != nil {
		return nil, a.status(err)
	}
	return &whosehopv1.ListHandoversResponse{Handovers: handovers(got.Handovers), Total: int64(got.Total)}, nil
}

func handovers(all []ownership.Handover) (list []*whosehopv1.Handover) {
	for _, h := range all {
		list = append(list, &whosehopv1.Handover{About: h.About, At: timestamppb.New(h.At), Before: h.Before, After: h.After, Source: h.Record.Source.String()})
	}
	return list
}
