import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.opensearch.Version;
import org.opensearch.common.logging.LogConfigurator;
import org.opensearch.common.settings.Settings;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.PluginInfo;
import org.opensearch.transport.Netty4ModulePlugin;

/** One OpenSearch node on 127.0.0.1 from the published jars: the core and its HTTP transport, no further plugin. */
public final class OpenSearchNode extends Node {
    private OpenSearchNode(Settings settings) {
        super(
            InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), (Path) null, () -> "otmirror"),
            List.of(new PluginInfo("netty4", "HTTP and transport", "NA", Version.CURRENT, "21",
                Netty4ModulePlugin.class.getName(), null, List.of(), false)),
            true);
    }

    /** Takes its folder, its HTTP port and its transport port. */
    public static void main(String[] given) throws Exception {
        Settings settings = Settings.builder()
            .put("path.home", given[0])
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.port", given[1])
            .put("transport.port", given[2])
            .put("transport.type", "netty4")
            .put("http.type", "netty4")
            // A disk that is nearly full elsewhere must not close a test's indices.
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        LogConfigurator.configureWithoutConfig(settings);
        Node node = new OpenSearchNode(settings);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (java.io.IOException error) {
                error.printStackTrace();
            }
        }));
        node.start();
        Thread.currentThread().join();
    }
}
