// Sends COUNT spans by PROTOCOL (grpc, http/protobuf, http/json) to ENDPOINT with the official SDK.
import { trace } from '@opentelemetry/api';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { OTLPTraceExporter as Grpc } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as Proto } from '@opentelemetry/exporter-trace-otlp-proto';
import { OTLPTraceExporter as Json } from '@opentelemetry/exporter-trace-otlp-http';

const [protocol, endpoint, count] = process.argv.slice(2);
const exporters = { 'grpc': Grpc, 'http/protobuf': Proto, 'http/json': Json };
const url = protocol === 'grpc' ? endpoint : `${endpoint}/v1/traces`;
const sdk = new NodeSDK({ serviceName: `node-${protocol}`, traceExporter: new exporters[protocol]({ url }), instrumentations: [] });
sdk.start();
const tracer = trace.getTracer('e2e');
for (let i = 0; i < Number(count); i++) {
  const span = tracer.startSpan(`work ${i}`, { attributes: { i, list: ['a', 'b'], ratio: 0.5, yes: true } });
  span.addEvent('half way', { done: 0.5 });
  span.end();
}
await sdk.shutdown();
